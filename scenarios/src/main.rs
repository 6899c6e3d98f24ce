//! The hasim command.

fn main() {}
