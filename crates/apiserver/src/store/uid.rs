//! The uid of an object, small: the store holds several for each.

use std::fmt;

/// A uid, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Form);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    /// Of the usual form, in lower case.
    Uuid([u8; 16]),
    Other(Box<str>),
}

/// Where the usual form has its hyphens.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Self(uuid(text).map_or_else(|| Form::Other(text.into()), Form::Uuid))
    }
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 || HYPHENS.iter().any(|at| bytes[*at] != b'-') {
        return None;
    }
    let mut digits = bytes.iter().enumerate().filter(|(at, _)| !HYPHENS.contains(at)).map(|(_, digit)| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    });
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        *byte = digits.next()?? << 4 | digits.next()??;
    }
    Some(uuid)
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Other(text) => f.write_str(text),
            Form::Uuid(bytes) => {
                for (at, byte) in bytes.iter().enumerate() {
                    if matches!(at, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, Uid};

    #[test]
    fn reads_as_it_was_written() {
        for (text, small) in [
            ("2dc51ef9-8545-4de1-83c4-cbe9a4f333db", true),
            ("00000000-0000-0000-0000-000000000000", true),
            ("2DC51EF9-8545-4de1-83c4-cbe9a4f333db", false),
            ("2dc51ef9-8545-4de1-83c4-cbe9a4f333d-", false),
            ("2dc51ef908545-4de1-83c4-cbe9a4f333db", false),
            ("2dc51ef9-8545-4de1-83c4-cbe9a4f333dé", false),
            ("u-1", false),
            ("", false),
        ] {
            let uid = Uid::from(text);
            assert_eq!((uid.to_string().as_str(), matches!(uid.0, Form::Uuid(_))), (text, small));
        }
    }
}
