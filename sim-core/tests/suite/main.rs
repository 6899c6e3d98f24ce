//! The kernel as its users see it. One program holds all of it: what the kernel is generic over is compiled once for each.

mod determinism;
mod disks;
mod faults;
mod hostility;
mod probe;
mod schedules;
