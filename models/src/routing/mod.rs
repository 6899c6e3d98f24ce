//! What stands between clients and PostgreSQL, and the clients.
