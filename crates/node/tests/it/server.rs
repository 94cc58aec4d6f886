//! The program that runs in test containers. Compiled statically by the test, needs nothing but the kernel.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
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

/// `/name`, `/fetch/HOST:PORT` gets `/name` there, `/resolve/NAME`, `/ask/HOST:PORT` asks for a name over UDP.
/// `/` greets, `/ready` is 503 until READY_AFTER_MS, `/env/NAME`, `/file/PATH`, `/remove/PATH`, `/crash`.
fn serve() {
    unsafe { signal(15, end as *const () as usize) };
    let start = Instant::now();
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let ready_after = Duration::from_millis(number("READY_AFTER_MS").unwrap_or(0));
    let listener = TcpListener::bind(("0.0.0.0", number("PORT").unwrap_or(8080) as u16)).unwrap();
    std::thread::spawn(echo);
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
            "name" => (200, std::env::var("HOSTNAME").unwrap_or_default()),
            "fetch" => (200, fetch(path.trim_start_matches("/fetch/"))),
            "resolve" => (200, format!("{:?}", resolve(path.trim_start_matches("/resolve/")))),
            "ask" => (200, ask_echo(path.trim_start_matches("/ask/"))),
            "remove" => (200, format!("{:?}", std::fs::remove_file(path.trim_start_matches("/remove")))),
            _ => (200, format!("hello from pid {}", std::process::id())),
        };
        let length = body.len();
        let _ = write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    }
}

/// Over UDP, whoever asks is told the name.
fn echo() {
    let socket = UdpSocket::bind(("0.0.0.0", 5353)).unwrap();
    let mut buffer = [0; 64];
    while let Ok((_, from)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(std::env::var("HOSTNAME").unwrap_or_default().as_bytes(), from);
    }
}

fn ask_echo(at: &str) -> String {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut buffer = [0; 64];
    let asked = socket.connect(at).and_then(|()| socket.send(b"?")).and_then(|_| socket.recv(&mut buffer));
    match asked {
        Ok(length) => String::from_utf8_lossy(&buffer[..length]).into_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// The body, or why there is none and after how many milliseconds.
fn fetch(at: &str) -> String {
    let began = Instant::now();
    let (host, port) = at.split_once(':').unwrap();
    let address = match host.parse::<Ipv4Addr>() {
        Ok(address) => address,
        Err(_) => match resolve(host) {
            Ok(found) if !found.is_empty() => found[0],
            other => return format!("not resolved: {other:?}"),
        },
    };
    let get = || {
        let to = SocketAddr::from((address, port.parse::<u16>().unwrap()));
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        stream.write_all(b"GET /name HTTP/1.1\r\nHost: test\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer.split_once("\r\n\r\n").map_or(answer.clone(), |(_, body)| body.to_owned()))
    };
    get().unwrap_or_else(|error| format!("{:?} {}", error.kind(), began.elapsed().as_millis()))
}

/// As the C library does it: the search list first for a name with few dots.
fn resolve(name: &str) -> Result<Vec<Ipv4Addr>, String> {
    let text = std::fs::read_to_string("/etc/resolv.conf").map_err(|e| e.to_string())?;
    let word = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim().to_owned();
    let searches = word("search ");
    let searched = searches.split(' ').map(|domain| format!("{name}.{domain}"));
    let all: Vec<String> = match name.strip_suffix('.') {
        Some(absolute) => vec![absolute.to_owned()],
        None => searched.chain([name.to_owned()]).collect(),
    };
    let mut last = Err("nothing to ask".to_owned());
    for name in all {
        last = query(&word("nameserver "), &name);
        if last.as_ref().is_ok_and(|found| !found.is_empty()) {
            break;
        }
    }
    last
}

fn query(server: &str, name: &str) -> Result<Vec<Ipv4Addr>, String> {
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(label.len() as u8);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind(("0.0.0.0", 0)).map_err(|e| e.to_string())?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).map_err(|e| e.to_string())?;
    let mut answer = [0; 512];
    let asked = socket.connect((server, 53)).and_then(|()| socket.send(&question)).and_then(|_| socket.recv(&mut answer));
    asked.map_err(|e| format!("{server}: {e}"))?;
    let code = answer[3] & 15;
    if code != 0 {
        return Err(format!("code {code}"));
    }
    let mut at = question.len();
    let mut found = Vec::new();
    for _ in 0..u16::from_be_bytes([answer[6], answer[7]]) {
        // A name is labels, or a pointer to them.
        while answer[at] & 0xc0 == 0 && answer[at] != 0 {
            at += 1 + answer[at] as usize;
        }
        at += if answer[at] == 0 { 1 } else { 2 };
        let length = u16::from_be_bytes([answer[at + 8], answer[at + 9]]) as usize;
        if answer[at + 1] == 1 {
            found.push(Ipv4Addr::new(answer[at + 10], answer[at + 11], answer[at + 12], answer[at + 13]));
        }
        at += 10 + length;
    }
    Ok(found)
}
