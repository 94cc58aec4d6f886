//! The server that rollouts are tested with. It knows nothing of draining: SIGTERM ends it at once, in the middle of
//! whatever it does. Compiled by the test into an image of its own; only the standard library.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(code: i32) -> !;
}

extern "C" fn end(_: i32) {
    unsafe { _exit(0) }
}

fn main() {
    unsafe { signal(15, end) };
    let version = std::fs::read_to_string("/version").unwrap_or_default();
    let listener = TcpListener::bind("0.0.0.0:8080").unwrap();
    for stream in listener.incoming().flatten() {
        let version = version.trim().to_owned();
        std::thread::spawn(move || serve(stream, &version));
    }
}

fn serve(mut output: TcpStream, version: &str) -> Option<()> {
    output.set_nodelay(true).ok()?;
    let mut input = BufReader::new(output.try_clone().ok()?);
    loop {
        let (mut line, mut length, mut path) = (String::new(), 0, String::new());
        loop {
            line.clear();
            if input.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
            if path.is_empty() {
                path = line.split(' ').nth(1)?.to_owned();
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        input.read_exact(&mut body).ok()?;
        match path.as_str() {
            "/slow" => {
                output.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n").ok()?;
                std::thread::sleep(Duration::from_secs(5));
                output.write_all(b"3\r\nend\r\n0\r\n\r\n").ok()?;
            }
            "/late" => {
                std::thread::sleep(Duration::from_secs(5));
                output.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nbeginend").ok()?;
            }
            "/ws" => return websocket(input, output),
            _ => {
                let body = if body.is_empty() { format!("version {version}").into_bytes() } else { body };
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                output.write_all(&[head.as_bytes(), &body].concat()).ok()?;
            }
        }
    }
}

/// Echoes short messages. The key is that of RFC 6455's example.
fn websocket(mut input: BufReader<TcpStream>, mut output: TcpStream) -> Option<()> {
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    output.write_all(head.as_bytes()).ok()?;
    loop {
        let mut start = [0; 6];
        input.read_exact(&mut start).ok()?;
        let mut payload = vec![0; usize::from(start[1] & 0x7f)];
        input.read_exact(&mut payload).ok()?;
        for (at, byte) in payload.iter_mut().enumerate() {
            *byte ^= start[2 + at % 4];
        }
        output.write_all(&[&[start[0], payload.len() as u8], &payload[..]].concat()).ok()?;
        if start[0] == 0x88 {
            return None;
        }
    }
}
