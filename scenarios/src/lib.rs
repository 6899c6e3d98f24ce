//! The composition root: scenario files and the catalogue, readers of real configuration files, the campaign runner
//! and the `hasim` command.

pub mod diagnostic;
pub mod exit;
pub mod import;
pub mod scenario;
