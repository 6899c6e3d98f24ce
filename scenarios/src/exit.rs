//! How the command ends: one number for each kind of end, so that scripts can tell them apart.

use std::process::ExitCode;

/// The end of a command. When several apply, the one that is greatest in this order counts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Exit {
    /// 0: every promise was kept.
    Kept,
    /// 2: no promise is known to be broken, and not all could be judged (event budget spent, interrupted).
    Undecided,
    /// 1: a promise was broken, a measured point was missed (`hasim calibrate`), or the finding that a scenario demands was not made in the whole campaign.
    Violated,
    /// 64: a flag, a name or a file is wrong.
    Usage,
    /// 70: hasim itself failed: an internal error, or a run that did not repeat.
    Internal,
}

impl Exit {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Kept, Self::Undecided, Self::Violated, Self::Usage, Self::Internal];

    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Kept => 0,
            Self::Violated => 1,
            Self::Undecided => 2,
            Self::Usage => 64,
            Self::Internal => 70,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
