//! What is random to Helm: here it follows from the seed of the release, so that a render repeats.

use super::{Result, fail, host, table};
use ring::hmac;
use std::fmt::Write;
use template::{Call, Function, Value};

pub(super) const FUNCTIONS: &[Function] = table! {
    "randAlphaNum" "i" |call| letters(call, |byte| byte.is_ascii_alphanumeric());
    "randAlpha" "i" |call| letters(call, |byte| byte.is_ascii_alphabetic());
    "randNumeric" "i" |call| letters(call, |byte| byte.is_ascii_digit());
    "randAscii" "i" |call| letters(call, |byte| (32..127).contains(&byte));
    "randBytes" "i" |call| {
        use base64::Engine;
        let count = count(call)?;
        let mut bytes = vec![0; count];
        stream(call, "randBytes").fill(&mut bytes);
        Ok(base64::engine::general_purpose::STANDARD.encode(bytes).into())
    };
    "randInt" "ii" |call| {
        let (from, to) = (call.int(0), call.int(1));
        match u64::try_from(to.saturating_sub(from)) {
            Ok(span) if span > 0 => Ok(Value::Int(from + i64::try_from(stream(call, "randInt").below(span)).unwrap_or(0))),
            _ => fail("invalid argument to Intn"),
        }
    };
    "shuffle" "s" |call| {
        let mut stream = stream(call, "shuffle");
        let mut characters: Vec<char> = call.str(0).chars().collect();
        for index in (1..characters.len()).rev() {
            let other = usize::try_from(stream.below(index as u64 + 1)).unwrap_or(0);
            characters.swap(index, other);
        }
        Ok(characters.into_iter().collect::<String>().into())
    };
    "uuidv4" "" |call| {
        let mut bytes = [0; 16];
        stream(call, "uuidv4").fill(&mut bytes);
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let mut text = String::new();
        for (index, byte) in bytes.iter().enumerate() {
            _ = write!(text, "{}{byte:02x}", if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" });
        }
        Ok(text.into())
    };
};

/// Characters that a template may ask for at once.
const COUNT_MAX: usize = 1 << 20;

fn count(call: &mut Call<'_, '_>) -> Result<usize> {
    match usize::try_from(call.int(0)) {
        Ok(count) if count <= COUNT_MAX => Ok(count),
        Ok(_) => fail(format!("more than {COUNT_MAX} random characters")),
        Err(_) => Ok(0),
    }
}

fn letters(call: &mut Call<'_, '_>, fits: impl Fn(u8) -> bool) -> Result {
    let count = count(call)?;
    let alphabet: Vec<u8> = (0..128).filter(|byte| fits(*byte)).collect();
    let mut stream = stream(call, "letters");
    let letter = |_| {
        let at = usize::try_from(stream.below(alphabet.len() as u64)).unwrap_or(0);
        char::from(alphabet[at])
    };
    Ok((0..count).map(letter).collect::<String>().into())
}

/// Bytes that look random and follow from a seed and a label.
pub(super) struct Stream {
    key: hmac::Key,
    label: String,
    block: u64,
    left: Vec<u8>,
}

/// The bytes of one call: the same whatever other calls the chart makes, but for those of its kind in its template.
pub(super) fn stream(call: &Call<'_, '_>, what: &str) -> Stream {
    let host = host(call);
    let place = format!("{what}\0{}", call.exec.current());
    let mut draws = host.draws.borrow_mut();
    let draw = draws.entry(place.clone()).or_insert(0);
    *draw += 1;
    Stream {
        key: hmac::Key::new(hmac::HMAC_SHA256, &host.seed),
        label: format!("{place}\0{draw}"),
        block: 0,
        left: Vec::new(),
    }
}

impl Stream {
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.left.is_empty() {
                self.block += 1;
                let tag = hmac::sign(&self.key, format!("{}\0{}", self.label, self.block).as_bytes());
                self.left = tag.as_ref().to_vec();
            }
            *byte = self.left.pop().unwrap_or(0);
        }
    }

    pub fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number below a limit, all of them equally likely.
    pub fn below(&mut self, limit: u64) -> u64 {
        let fair = u64::MAX - u64::MAX % limit;
        loop {
            let number = self.number();
            if number < fair {
                return number % limit;
            }
        }
    }
}
