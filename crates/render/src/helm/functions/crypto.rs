//! Digests and encodings.

use super::{Result, table};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{self, Algorithm};
use template::{Call, Function, from_bytes, to_bytes};

pub(super) const FUNCTIONS: &[Function] = table! {
    "sha1sum" "s" |call| sum(call, &digest::SHA1_FOR_LEGACY_USE_ONLY);
    "sha256sum" "s" |call| sum(call, &digest::SHA256);
    "sha512sum" "s" |call| sum(call, &digest::SHA512);
    "adler32sum" "s" |call| {
        let mut sums = (1_u32, 0_u32);
        for byte in to_bytes(call.str(0)).iter() {
            sums.0 = (sums.0 + u32::from(*byte)) % 65521;
            sums.1 = (sums.1 + sums.0) % 65521;
        }
        Ok(((sums.1 << 16) | sums.0).to_string().into())
    };
    "b64enc" "s" |call| Ok(STANDARD.encode(to_bytes(call.str(0))).into());
    "b64dec" "s" |call| {
        let text: String = call.str(0).chars().filter(|character| !matches!(character, '\r' | '\n')).collect();
        Ok(match STANDARD.decode(&text) {
            Ok(bytes) => from_bytes(&bytes).into(),
            Err(error) => format!("illegal base64 data at input byte {}", fault(&text, &error)).into(),
        })
    };
    "b32enc" "s" |call| Ok(base32(&to_bytes(call.str(0))).into());
    "b32dec" "s" |call| Ok(match unbase32(call.str(0)) {
        Ok(bytes) => from_bytes(&bytes).into(),
        Err(at) => format!("illegal base32 data at input byte {at}").into(),
    });
};

fn sum(call: &mut Call<'_, '_>, algorithm: &'static Algorithm) -> Result {
    Ok(hex::encode(digest::digest(algorithm, &to_bytes(call.str(0)))).into())
}

/// Where Go finds the fault.
fn fault(text: &str, error: &base64::DecodeError) -> usize {
    match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        _ => text.len() / 4 * 4,
    }
}

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn base32(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let mut block = [0; 8];
        block[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(block);
        let letters = (chunk.len() * 8).div_ceil(5);
        for index in 0..8 {
            let at = usize::try_from((bits >> (35 - 5 * index)) & 31).unwrap_or(0);
            out.push(if index < letters { char::from(ALPHABET[at]) } else { '=' });
        }
    }
    out
}

fn unbase32(text: &str) -> std::result::Result<Vec<u8>, usize> {
    let text: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let mut out = Vec::with_capacity(text.len() * 5 / 8);
    for (number, chunk) in text.chunks(8).enumerate() {
        let used = chunk.iter().position(|byte| *byte == b'=').unwrap_or(chunk.len());
        let mut bits = 0_u64;
        for (index, byte) in chunk[..used].iter().enumerate() {
            let Some(value) = ALPHABET.iter().position(|letter| letter == byte) else { return Err(number * 8 + index) };
            bits |= (value as u64) << (35 - 5 * index);
        }
        if chunk.len() < 8 || !matches!(used, 2 | 4 | 5 | 7 | 8) || chunk[used..].iter().any(|byte| *byte != b'=') {
            return Err(number * 8 + used);
        }
        out.extend(&bits.to_be_bytes()[3..3 + used * 5 / 8]);
    }
    Ok(out)
}
