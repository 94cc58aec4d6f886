//! The program that runs in test containers. Compiled statically by the test, needs nothing but the kernel.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
}

extern "C" fn end(_: i32) {
    std::process::exit(0);
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("serve") => serve(),
        Some("fail") => {
            println!("about to fail");
            eprintln!("failing now");
            let _ = std::fs::write("/dev/termination-log", "it was meant to");
            std::process::exit(arguments[2].parse().unwrap());
        }
        Some("write") => std::fs::write(&arguments[2], &arguments[3]).unwrap(),
        Some("read") => println!("{}", std::fs::read_to_string(&arguments[2]).unwrap()),
        Some("exists") => std::process::exit(i32::from(!std::path::Path::new(&arguments[2]).exists())),
        Some("stubborn") => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        other => panic!("{other:?} is not a verb"),
    }
}

/// `/` greets, `/ready` is 503 until READY_AFTER_MS, `/env/NAME`, `/file/PATH`, `/remove/PATH`, `/crash`.
fn serve() {
    unsafe { signal(15, end as *const () as usize) };
    let start = Instant::now();
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let ready_after = Duration::from_millis(number("READY_AFTER_MS").unwrap_or(0));
    let listener = TcpListener::bind(("0.0.0.0", number("PORT").unwrap_or(8080) as u16)).unwrap();
    println!("serving");
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut buffer = [0u8; 4096];
        let read = stream.read(&mut buffer).unwrap_or(0);
        let request = String::from_utf8_lossy(&buffer[..read]).into_owned();
        let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
        let (status, body) = match path.split('/').nth(1).unwrap_or_default() {
            "ready" if start.elapsed() < ready_after => (503, "not yet".to_owned()),
            "crash" => std::process::exit(3),
            "env" => (200, std::env::var(path.trim_start_matches("/env/")).unwrap_or_default()),
            "file" => match std::fs::read_to_string(path.trim_start_matches("/file")) {
                Ok(content) => (200, content),
                Err(error) => (404, error.to_string()),
            },
            "remove" => (200, format!("{:?}", std::fs::remove_file(path.trim_start_matches("/remove")))),
            _ => (200, format!("hello from pid {}", std::process::id())),
        };
        let length = body.len();
        let _ = write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    }
}
