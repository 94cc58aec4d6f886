//! Git's conversation with `proc-receive`, the hook that moves references in git's place: packet lines on standard input
//! and output.
//!
//! ```text
//!  git: version=1\0push-options …   hook: version=1\0push-options
//!  git: <old> <new> refs/for/main   git: the options of the push
//!  hook: ok refs/for/main, option refname refs/changes/12/head, …   or: ng refs/for/main WHY
//! ```

use crate::hook::{Moved, REQUEST_BYTES_MAX};
use std::io::{self, Read, Write};

/// Of one packet line, with its length.
const PACKET_BYTES_MAX: usize = 65_520;

/// The whole conversation. `decide` gets the updates and the options of the push.
pub fn serve(decide: impl FnOnce(Vec<String>, Vec<String>) -> io::Result<(u8, Vec<Moved>)>) -> io::Result<u8> {
    converse(&mut io::stdin().lock().take(REQUEST_BYTES_MAX), &mut io::stdout().lock(), decide)
}

fn converse(
    input: &mut impl Read,
    output: &mut impl Write,
    decide: impl FnOnce(Vec<String>, Vec<String>) -> io::Result<(u8, Vec<Moved>)>,
) -> io::Result<u8> {
    let greeting = section(input)?;
    let (version, features) = greeting.first().map_or(("", ""), |line| line.split_once('\0').unwrap_or((line, "")));
    if version != "version=1" {
        return Err(io::Error::other(format!("git speaks {version:?} of proc-receive")));
    }
    let options = features.split(' ').any(|feature| feature == "push-options");
    packet(output, if options { "version=1\0push-options" } else { "version=1" })?;
    flush(output)?;
    let updates = section(input)?;
    let options = if options { section(input)? } else { Vec::new() };
    let (code, moved) = decide(updates, options)?;
    for Moved { reference, outcome } in moved {
        match outcome {
            Ok(stands) => {
                packet(output, &format!("ok {reference}"))?;
                packet(output, &format!("option refname {}", stands.reference))?;
                packet(output, &format!("option old-oid {}", stands.old))?;
                packet(output, &format!("option new-oid {}", stands.new))?;
            }
            Err(why) => packet(output, &format!("ng {reference} {why}"))?,
        }
    }
    flush(output)?;
    Ok(code)
}

/// Lines until a flush.
fn section(input: &mut impl Read) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut length = [0; 4];
        input.read_exact(&mut length)?;
        let bad = || io::Error::other("git sent no packet line");
        let text = std::str::from_utf8(&length).map_err(|_| bad())?;
        let length = usize::from_str_radix(text, 16).map_err(|_| bad())?;
        match length {
            0 => return Ok(lines),
            4..=PACKET_BYTES_MAX => {
                let mut line = vec![0; length - 4];
                input.read_exact(&mut line)?;
                let line = String::from_utf8(line).map_err(|_| bad())?;
                lines.push(line.strip_suffix('\n').unwrap_or(&line).to_owned());
            }
            _ => return Err(bad()),
        }
    }
}

fn packet(output: &mut impl Write, line: &str) -> io::Result<()> {
    let mut line = line.to_owned();
    let end = (0..=(PACKET_BYTES_MAX - 5).min(line.len())).rev().find(|end| line.is_char_boundary(*end));
    line.truncate(end.unwrap_or(0));
    write!(output, "{:04x}{line}\n", line.len() + 5)
}

fn flush(output: &mut impl Write) -> io::Result<()> {
    output.write_all(b"0000")?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook::Stands;

    fn talk(said: &[u8], moved: Vec<Moved>) -> (io::Result<u8>, String, Vec<String>) {
        let (mut output, mut heard) = (Vec::new(), Vec::new());
        let code = converse(&mut &*said, &mut output, |updates, options| {
            heard = updates.into_iter().chain(options).collect();
            Ok((0, moved))
        });
        (code, String::from_utf8(output).unwrap(), heard)
    }

    #[test]
    fn what_git_says_is_understood_and_answered() {
        let (zero, one) = ("0".repeat(40), "1".repeat(40));
        let update = format!("{zero} {one} refs/for/main");
        let said =
            format!("0021version=1\0atomic push-options0000{:04x}{update}0000000dtopic=fix0000", update.len() + 4);
        let stands = Stands { reference: "refs/changes/12/head".into(), old: zero, new: one };
        let moved = vec![
            Moved { reference: "refs/for/main".into(), outcome: Ok(stands) },
            Moved { reference: "refs/for/x".into(), outcome: Err("no".into()) },
        ];
        let (code, answer, heard) = talk(said.as_bytes(), moved);
        assert_eq!((code.unwrap(), heard), (0, vec![update, "topic=fix".to_owned()]));
        assert!(answer.starts_with("001bversion=1\0push-options\n0000"), "{answer:?}");
        for words in ["ok refs/for/main\n", "option refname refs/changes/12/head\n", "ng refs/for/x no\n"] {
            assert!(answer.contains(words), "{words:?} is missing in {answer:?}");
        }
        assert!(answer.ends_with("0000"));
        for bad in [&b"0009versio"[..], b"zzzz", b"000dversion=20000", b""] {
            assert!(talk(bad, Vec::new()).0.is_err(), "{bad:?} was taken");
        }
    }
}
