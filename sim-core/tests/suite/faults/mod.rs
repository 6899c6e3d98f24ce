//! What each kind of fault does, seen by the processes of a small probe system; one file for each subject.

mod clocks;
mod connections;
mod links;
mod partitions;
mod probe;
mod processes;
mod vocabulary;
