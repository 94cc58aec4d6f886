//! Short texts for object names, the same for the same input on every run and machine.

/// FNV-1a with 32 bits: nothing here has to withstand an attacker, a taken name is noticed and another one chosen.
pub(crate) struct Hash(u32);

impl Default for Hash {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl Hash {
    pub(crate) fn write(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
        self
    }

    /// At most 10 characters: no vowels, so that no word comes about, and nothing that is read as another letter.
    pub(crate) fn text(&self) -> String {
        const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
        self.0.to_string().bytes().map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_short_and_the_one_of_its_input() {
        let text = |input: &str| Hash::default().write(input.as_bytes()).text();
        assert_eq!(text("web"), text("web"));
        assert_ne!(text("web"), text("api"));
        assert!(text("web").len() <= 10 && text("").bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(Hash::default().write(b"a").0, 0xe40c_292c, "not FNV-1a");
    }
}
