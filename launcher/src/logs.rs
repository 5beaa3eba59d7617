//! Prints what ranks say: rank 0 as it is, the others with their rank in front.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::OnceLock;
use std::thread::JoinHandle;

static PREFIX: OnceLock<String> = OnceLock::new();

/// Puts `[rank] ` before whatever this process says from now on. Rank 0 needs none.
pub fn speak_as(rank: u32) {
    if rank > 0 {
        let _ = PREFIX.set(prefix(rank));
    }
}

/// Writes one line of the launcher's own to standard error, in one piece. A closed standard error is no reason to end
/// a run, so failures are ignored.
pub fn say(message: &str) {
    let prefix = PREFIX.get().map_or("", String::as_str);
    let mut text = String::new();
    for line in message.lines() {
        text.push_str(&format!("{prefix}defusion-launch: {line}\n"));
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Returns what stands before the lines of rank `rank`.
pub fn prefix(rank: u32) -> String {
    format!("[{rank}] ")
}

/// Copies `from` to `to` in a thread of its own, line by line, each with `prefix` and in one write, until `from` ends.
pub fn forward(
    from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    prefix: String,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while next_line(&mut from, &mut line) {
            let text = [prefix.as_bytes(), &line, b"\n"].concat();
            // Keep reading if writing fails: a full pipe would stop the worker.
            let _ = to.write_all(&text).and_then(|()| to.flush());
        }
    })
}

/// Longest piece that is passed on as one line, so that a writer without newlines cannot fill memory.
const LONGEST_LINE: u64 = 64 * 1024;

/// Reads up to a newline into `line`, without it. Returns false at the end.
fn next_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> bool {
    line.clear();
    match from.by_ref().take(LONGEST_LINE).read_until(b'\n', line) {
        Ok(0) | Err(_) => false,
        Ok(_) => {
            while matches!(line.last(), Some(b'\n' | b'\r')) {
                line.pop();
            }
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Writes {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(data.to_vec());
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn forwarded(text: &[u8]) -> Vec<String> {
        let writes = Writes::default();
        forward(io::Cursor::new(text.to_vec()), writes.clone(), prefix(2)).join().unwrap();
        let writes = writes.0.lock().unwrap();
        writes.iter().map(|w| String::from_utf8_lossy(w).into_owned()).collect()
    }

    #[test]
    fn each_line_is_one_write_with_the_rank_in_front() {
        assert_eq!(forwarded(b"step 1\r\n\nlast"), ["[2] step 1\n", "[2] \n", "[2] last\n"]);
        assert_eq!(forwarded(b"bytes \xff\n")[0].chars().count(), "[2] bytes ?\n".len());
    }

    #[test]
    fn a_line_without_end_is_passed_on_in_pieces() {
        let lines = forwarded(&vec![b'x'; LONGEST_LINE as usize + 1]);
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [LONGEST_LINE as usize + 5, 6]);
    }
}
