//! The consensus core of etcd, as a value without input and output.
