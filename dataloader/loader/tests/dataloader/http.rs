//! Shards behind a plain web server.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use defusion_config::RemoteCache;
use defusion_dataloader::shard::{DatasetReader, ShardError};
use defusion_dataloader::verify::verify;

use crate::hostile::local;

/// Serves the files below `root` for as long as the test runs; parts of them only where `ranges` is set.
fn serve(root: PathBuf, ranges: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let root = root.clone();
            std::thread::spawn(move || answer(stream, &root, ranges));
        }
    });
    url
}

/// One request, then the connection is closed.
fn answer(mut stream: TcpStream, root: &Path, ranges: bool) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut range = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        range = range.or_else(|| line.strip_prefix("range: bytes=").map(str::to_owned));
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let Ok(bytes) = std::fs::read(root.join(path.trim_start_matches('/'))) else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let asked = range.filter(|_| ranges).and_then(|range| {
        let (first, last) = range.split_once('-')?;
        Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?.min(bytes.len() - 1)))
    });
    let (status, part) = match asked {
        Some((first, last)) => (
            format!("206 Partial Content\r\nContent-Range: bytes {first}-{last}/{}", bytes.len()),
            &bytes[first..=last],
        ),
        None => ("200 OK".to_owned(), &bytes[..]),
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", part.len())?;
    if method == "GET" { stream.write_all(part) } else { Ok(()) }
}

fn read(url: &str, cache: &Path) -> Result<Vec<Vec<u8>>, ShardError> {
    let cache = RemoteCache { dir: Some(cache.display().to_string()), ..RemoteCache::default() };
    let reader = DatasetReader::open(url, &cache)?;
    (0..reader.len()).map(|i| Ok(reader.full(i)?.lq.to_rgb8())).collect()
}

#[test]
fn shards_are_read_from_a_web_server() {
    let (dir, set) = local();
    let here = read(&set.display().to_string(), &dir.path().join("unused")).unwrap();
    let root = set.parent().unwrap().to_owned();
    let server = serve(root.clone(), true);
    assert_eq!(read(&format!("{server}/set"), &dir.path().join("cache")).unwrap(), here);
    let error = read(&format!("{server}/other"), &dir.path().join("cache")).unwrap_err().to_string();
    assert!(error.contains("/other holds no manifest.json"), "{error}");
    // Shards come in parts, which not every server gives: then they come whole.
    let plain = serve(root, false);
    assert_eq!(read(&format!("{plain}/set"), &dir.path().join("empty")).unwrap(), here);
    let verified = verify(&format!("{plain}/set"), 2, &|_, _| ()).unwrap();
    assert!(verified.problems.is_empty() && verified.unread.is_empty(), "{verified}");
}
