//! Tests of members, clients and leases.
