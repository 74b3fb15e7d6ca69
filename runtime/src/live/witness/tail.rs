//! A file that grows.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    read: u64,
    /// The beginning of a line whose end isn't written yet.
    begun: Vec<u8>,
}

impl Tail {
    pub fn of(path: PathBuf) -> Tail {
        Tail { path, read: 0, begun: Vec::new() }
    }

    /// The lines that were finished since the last call; none while there is no file.
    pub fn lines(&mut self) -> Vec<String> {
        let grown = std::fs::metadata(&self.path).is_ok_and(|meta| meta.len() > self.read);
        if !grown || self.read_on().is_err() {
            return Vec::new();
        }
        let end = self.begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let finished: Vec<u8> = self.begun.drain(..end).collect();
        String::from_utf8_lossy(&finished).lines().map(str::to_string).collect()
    }

    fn read_on(&mut self) -> std::io::Result<()> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        self.read += file.read_to_end(&mut self.begun)? as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn each_line_comes_once_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut tail = Tail::of(path.clone());
        assert!(tail.lines().is_empty());
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(tail.lines(), ["one"]);
        assert!(tail.lines().is_empty());
        file.write_all(b"o\nthree\n").unwrap();
        assert_eq!(tail.lines(), ["two", "three"]);
    }
}
