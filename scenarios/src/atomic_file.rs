//! Files that are there as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use crate::diagnostic::UserError;

/// Writes a file under another name beside it and renames it: a reader never sees a half, and an interrupted command
/// leaves the old file as it was. Missing folders are made.
///
/// # Errors
/// The system refuses; the error names the file.
pub fn write(path: &Path, content: &[u8]) -> Result<(), UserError> {
    try_write(path, content)
        .map_err(|error| UserError::new(format!("cannot write `{}`: {error}", path.display())))
}

fn try_write(path: &Path, content: &[u8]) -> io::Result<()> {
    let name =
        path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let temporary = path.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        // The first error is the one to report; a file that cannot be removed is no news after it.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}
