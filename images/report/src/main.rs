//! `report FOLDER [--to FILE]` lists the files in a folder with their lines and bytes.
//!
//! It is an ordinary command, for a Job, a CronJob or an init container.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

fn main() -> ExitCode {
    // The first argument is the program's name.
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (folder, to) = match words.as_slice() {
        [folder] => (*folder, None),
        [folder, "--to", file] => (*folder, Some(*file)),
        _ => {
            eprintln!("usage: report FOLDER [--to FILE]");
            return ExitCode::FAILURE;
        }
    };
    let done = report(Path::new(folder)).and_then(|report| {
        print!("{report}");
        to.map_or(Ok(()), |file| fs::write(file, &report))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("report: {folder}: {failed}");
            ExitCode::FAILURE
        }
    }
}

/// A line for each file, and one for the total.
fn report(folder: &Path) -> io::Result<String> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut text = String::new();
    let (mut files, mut lines, mut bytes) = (0, 0, 0);
    for entry in entries {
        // Links are followed, because the files of a ConfigMap are links.
        if !fs::metadata(entry.path())?.is_file() {
            continue;
        }
        let content = fs::read(entry.path())?;
        let here = content.iter().filter(|byte| **byte == b'\n').count();
        let name = entry.file_name();
        let _ = writeln!(
            text,
            "{}: {here} lines, {} bytes",
            name.to_string_lossy(),
            content.len()
        );
        (files, lines, bytes) = (files + 1, lines + here, bytes + content.len());
    }
    let _ = writeln!(text, "{files} files, {lines} lines, {bytes} bytes");
    Ok(text)
}
