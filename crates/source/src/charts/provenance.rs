//! Provenance files (`.prov`): what a chart's maker signed with OpenPGP.
//!
//! As much of OpenPGP as that takes: clear text with a signature of version 4, by RSA or Ed25519, over SHA-256, -384
//! or -512. Anything else is refused by name.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::Digest;
use ring::{digest, signature};
use yaml::Dialect;

/// Keys and signatures are no larger.
const PACKETS_MAX: usize = 10_000;

/// Whether one of the keys signed that this version of a chart has this digest.
pub fn verify(provenance: &[u8], keyring: &[u8], name: &str, version: &str, actual: &Digest) -> Result<(), String> {
    let text = std::str::from_utf8(provenance).map_err(|_| "the provenance file is not UTF-8")?;
    let (signed, signature) = clear(text)?;
    let signature = Signature::of(&packets(&signature)?)?;
    let keys = keys(keyring)?;
    let message = [canonical(&signed).as_bytes(), &signature.trailer].concat();
    if !keys.iter().any(|key| key.verifies(&message, &signature)) {
        let known = keys.len();
        return Err(format!("its provenance file is signed by none of the {known} keys of `keyring`, or was changed"));
    }
    let announced = announced(&signed, name, version)?;
    match announced == *actual {
        true => Ok(()),
        false => Err(format!("its provenance file is about {announced}, and the archive is {actual}")),
    }
}

/// The digest that the signed text names for the archive. It is `Chart.yaml`, a line of dots, and `files`.
fn announced(signed: &str, name: &str, version: &str) -> Result<Digest, String> {
    let bad = || "its provenance file names no digest".to_owned();
    let (chart, files) = signed.split_once("\n...\n").ok_or_else(bad)?;
    let read = |text: &str| {
        let nodes = yaml::parse(text, "provenance").map_err(|_| bad())?;
        yaml::to_json(nodes.first().ok_or_else(bad)?, Dialect::V2).map_err(|_| bad())
    };
    let (chart, files) = (read(chart)?, read(files)?);
    if chart["name"] != name || chart["version"] != version {
        return Err(format!("its provenance file is that of {} {}", chart["name"], chart["version"]));
    }
    let file = format!("{name}-{version}.tgz");
    files["files"][&file].as_str().and_then(|digest| digest.parse().ok()).ok_or_else(bad)
}

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";

/// The signed text and the signature's packets.
fn clear(text: &str) -> Result<(String, Vec<u8>), String> {
    let bad = || "the provenance file is no signed message of OpenPGP".to_owned();
    let text = text.replace("\r\n", "\n");
    let (_, rest) = text.split_once(BEGIN).ok_or_else(bad)?;
    // Headers end with an empty line.
    let (_, rest) = rest.split_once("\n\n").ok_or_else(bad)?;
    let (body, armor) = rest.split_once(&format!("\n{SIGNATURE}")).ok_or_else(bad)?;
    let lines = body.lines().map(|line| line.strip_prefix("- ").unwrap_or(line));
    Ok((lines.collect::<Vec<_>>().join("\n"), armored(armor).ok_or_else(bad)?))
}

/// Lines end as on paper tape, without blanks before; the last has no end.
fn canonical(text: &str) -> String {
    text.split('\n').map(|line| line.trim_end_matches([' ', '\t', '\r'])).collect::<Vec<_>>().join("\r\n")
}

/// The bytes behind the headers of an armor, up to its checksum.
fn armored(text: &str) -> Option<Vec<u8>> {
    let (_, body) = text.split_once("\n\n")?;
    let lines = body.lines().map(str::trim).take_while(|line| !line.starts_with(['-', '=']));
    STANDARD.decode(lines.collect::<String>()).ok()
}

struct Packet {
    tag: u8,
    body: Vec<u8>,
}

/// Reads numbers of bytes from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// A number of any size, without zeros before it.
    fn large(&mut self) -> Option<&'a [u8]> {
        let bits = self.number(2)?;
        self.take(bits.div_ceil(8))
    }
}

fn packets(bytes: &[u8]) -> Result<Vec<Packet>, String> {
    let mut rest = Bytes(bytes);
    let mut found = Vec::new();
    while !rest.0.is_empty() {
        let packet = packet(&mut rest).ok_or("a key or signature of OpenPGP is cut off or of an unknown form")?;
        found.push(packet);
        if found.len() > PACKETS_MAX {
            return Err(format!("a keyring has more than {PACKETS_MAX} packets"));
        }
    }
    Ok(found)
}

fn packet(rest: &mut Bytes<'_>) -> Option<Packet> {
    let first = rest.number(1)?;
    let (tag, length) = match (first & 0x80, first & 0x40) {
        (0, _) => return None,
        (_, 0) => {
            let length = match first & 3 {
                0 => rest.number(1)?,
                1 => rest.number(2)?,
                2 => rest.number(4)?,
                _ => return None,
            };
            (first >> 2 & 15, length)
        }
        _ => {
            let length = match rest.number(1)? {
                short @ 0..=191 => short,
                long @ 192..=223 => ((long - 192) << 8) + rest.number(1)? + 192,
                255 => rest.number(4)?,
                _ => return None,
            };
            (first & 63, length)
        }
    };
    Some(Packet { tag: u8::try_from(tag).ok()?, body: rest.take(length)?.to_vec() })
}

#[derive(Clone, Copy, PartialEq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

struct Signature {
    algorithm: u8,
    hash: Hash,
    numbers: Vec<Vec<u8>>,
    /// What is hashed behind the text.
    trailer: Vec<u8>,
}

impl Signature {
    fn of(packets: &[Packet]) -> Result<Self, String> {
        let packet = packets.iter().find(|packet| packet.tag == 2).ok_or("the provenance file has no signature")?;
        Self::read(&packet.body)?.ok_or_else(|| "the signature of the provenance file is cut off".to_owned())
    }

    fn read(body: &[u8]) -> Result<Option<Self>, String> {
        let mut rest = Bytes(body);
        let Some([version, _kind, algorithm, hash]) = rest.take(4) else { return Ok(None) };
        if *version != 4 {
            return Err(format!("the provenance file is signed in version {version} of OpenPGP; 4 is known here"));
        }
        let hash = match hash {
            8 => Hash::Sha256,
            9 => Hash::Sha384,
            10 => Hash::Sha512,
            other => {
                return Err(format!(
                    "the signature of the provenance file uses hash {other}; SHA-256, -384 and -512 are known here"
                ));
            }
        };
        let Some(hashed) = rest.number(2) else { return Ok(None) };
        if rest.take(hashed).is_none() {
            return Ok(None);
        }
        let covered = &body[..6 + hashed];
        let length = u32::try_from(covered.len()).unwrap_or(u32::MAX);
        let trailer = [covered, &[4, 0xff], &length.to_be_bytes()].concat();
        let unhashed = rest.number(2).and_then(|count| rest.take(count)).and_then(|_| rest.take(2));
        if unhashed.is_none() {
            return Ok(None);
        }
        let mut numbers = Vec::new();
        while let Some(number) = rest.large() {
            numbers.push(number.to_vec());
        }
        Ok(Some(Self { algorithm: *algorithm, hash, numbers, trailer }))
    }
}

enum Key {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ed25519(Vec<u8>),
}

/// Object identifier of Ed25519 in OpenPGP.
const ED25519: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];
const RSA: [u8; 2] = [1, 3];
const EDDSA: u8 = 22;

/// The keys of a ring that can sign, those that were revoked left out.
fn keys(keyring: &[u8]) -> Result<Vec<Key>, String> {
    let text = std::str::from_utf8(keyring).ok().filter(|text| text.contains("-----BEGIN PGP"));
    let bytes = match text {
        Some(text) => armored(&text.replace("\r\n", "\n")).ok_or("`keyring` is no armor of OpenPGP")?,
        None => keyring.to_vec(),
    };
    let packets = packets(&bytes)?;
    let mut keys = Vec::new();
    for (at, packet) in packets.iter().enumerate().filter(|(_, packet)| matches!(packet.tag, 6 | 14)) {
        // Signatures of its own stand behind it, up to the next key or name.
        let own = packets[at + 1..].iter().take_while(|next| next.tag == 2);
        let revoked = own.clone().any(|own| matches!(own.body.get(1), Some(0x20 | 0x28)));
        keys.extend(key(&packet.body).filter(|_| !revoked));
    }
    match keys.is_empty() {
        true => Err("`keyring` has no key of RSA or Ed25519: `gpg --export --armor NAME` writes one".into()),
        false => Ok(keys),
    }
}

fn key(body: &[u8]) -> Option<Key> {
    let mut rest = Bytes(body);
    if rest.number(1)? != 4 {
        return None;
    }
    rest.take(4)?;
    match u8::try_from(rest.number(1)?).ok()? {
        algorithm if RSA.contains(&algorithm) => {
            Some(Key::Rsa { n: rest.large()?.to_vec(), e: rest.large()?.to_vec() })
        }
        EDDSA => {
            let length = rest.number(1)?;
            let curve = rest.take(length)?;
            // The point has a byte before it that says that it is one as it stands.
            let point = rest.large().filter(|point| curve == ED25519 && point.len() == 33 && point[0] == 0x40)?;
            Some(Key::Ed25519(point[1..].to_vec()))
        }
        _ => None,
    }
}

impl Key {
    fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        match (self, signature.numbers.as_slice()) {
            (Self::Rsa { n, e }, [number]) if RSA.contains(&signature.algorithm) => {
                let algorithm = match signature.hash {
                    Hash::Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Hash::Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Hash::Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                };
                let key = signature::RsaPublicKeyComponents { n, e };
                padded(number, n.len()).is_some_and(|signed| key.verify(algorithm, message, &signed).is_ok())
            }
            (Self::Ed25519(point), [r, s]) if signature.algorithm == EDDSA => {
                let algorithm = match signature.hash {
                    Hash::Sha256 => &digest::SHA256,
                    Hash::Sha384 => &digest::SHA384,
                    Hash::Sha512 => &digest::SHA512,
                };
                let hash = digest::digest(algorithm, message);
                let (Some(r), Some(s)) = (padded(r, 32), padded(s, 32)) else { return false };
                let key = signature::UnparsedPublicKey::new(&signature::ED25519, point);
                key.verify(hash.as_ref(), &[r, s].concat()).is_ok()
            }
            _ => false,
        }
    }
}

fn padded(number: &[u8], length: usize) -> Option<Vec<u8>> {
    let zeros = length.checked_sub(number.len())?;
    Some([vec![0; zeros], number.to_vec()].concat())
}
