//! Private keys that follow from the seed of a release.

use super::der::{self, INTEGER, NULL, OCTET_STRING, SEQUENCE, bits, integer, nested, tagged};
use super::random::Stream;
use ring::signature::{Ed25519KeyPair, KeyPair};
use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey, EncodeRsaPublicKey};
use rsa::rand_core::{self, CryptoRng, RngCore};
use rsa::{BigUint, Pkcs1v15Sign, RsaPrivateKey};

const OID_RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const OID_RSA_SHA256: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
const OID_EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OID_P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_EC_SHA256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const OID_ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// What stands before a SHA-256 in a signature of RSA.
const SHA256_INFO: &[u8] =
    &[0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// A private key.
pub(super) enum PrivateKey {
    Rsa(Box<RsaPrivateKey>),
    /// On P-256.
    Ec(BigUint),
    Ed25519([u8; 32]),
}

impl RngCore for Stream {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        self.number()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill(bytes);
        Ok(())
    }
}

impl CryptoRng for Stream {}

impl PrivateKey {
    /// A key for RSA.
    pub fn rsa(stream: &mut Stream, size: usize) -> Result<Self, String> {
        RsaPrivateKey::new(stream, size).map(|key| Self::Rsa(Box::new(key))).map_err(|error| error.to_string())
    }

    /// A key on P-256.
    pub fn ec(stream: &mut Stream) -> Self {
        let mut bytes = [0; 48];
        stream.fill(&mut bytes);
        let curve = P256::new();
        Self::Ec(BigUint::from_bytes_be(&bytes) % (&curve.order - 1_u8) + 1_u8)
    }

    /// A key for Ed25519.
    pub fn ed25519(stream: &mut Stream) -> Self {
        let mut seed = [0; 32];
        stream.fill(&mut seed);
        Self::Ed25519(seed)
    }

    /// As Go writes it.
    pub fn pem(&self) -> Result<String, String> {
        Ok(match self {
            Self::Rsa(key) => {
                let der = key.to_pkcs1_der().map_err(|error| error.to_string())?;
                der::pem("RSA PRIVATE KEY", der.as_bytes())
            }
            Self::Ec(secret) => {
                let public = P256::new().public(secret);
                let parts: [&[u8]; 4] = [
                    &[INTEGER, 1, 1],
                    &tagged(OCTET_STRING, &fixed(secret)),
                    &tagged(0xa0, OID_P256),
                    &tagged(0xa1, &bits(&public)),
                ];
                der::pem("EC PRIVATE KEY", &nested(SEQUENCE, &parts))
            }
            Self::Ed25519(seed) => {
                let inner = tagged(OCTET_STRING, &tagged(OCTET_STRING, seed));
                let parts: [&[u8]; 3] = [&[INTEGER, 1, 0], &tagged(SEQUENCE, OID_ED25519), &inner];
                der::pem("PRIVATE KEY", &nested(SEQUENCE, &parts))
            }
        })
    }

    /// From the forms that Go writes, and PKCS #8.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (label, bytes) = der::unpem(text).ok_or("no PEM data in input")?;
        let unreadable = || format!("the {label} cannot be read; RSA, P-256 and Ed25519 are supported");
        match label {
            "RSA PRIVATE KEY" => {
                RsaPrivateKey::from_pkcs1_der(&bytes).map(|key| Self::Rsa(Box::new(key))).map_err(|_| unreadable())
            }
            "EC PRIVATE KEY" => ec_secret(&bytes).map(Self::Ec).ok_or_else(unreadable),
            "PRIVATE KEY" => Self::from_pkcs8(&bytes).ok_or_else(unreadable),
            other => Err(format!("invalid private key type {other}")),
        }
    }

    fn from_pkcs8(bytes: &[u8]) -> Option<Self> {
        let (_, content, _) = der::read(bytes)?;
        let parts = der::children(content)?;
        let (algorithm, inner) = (parts.get(1)?.1, parts.get(2)?.1);
        if algorithm.starts_with(OID_RSA) {
            return RsaPrivateKey::from_pkcs1_der(inner).ok().map(|key| Self::Rsa(Box::new(key)));
        }
        if algorithm.starts_with(OID_ED25519) {
            let (_, seed, _) = der::read(inner)?;
            return seed.try_into().ok().map(Self::Ed25519);
        }
        (algorithm == [OID_EC, OID_P256].concat()).then(|| ec_secret(inner)).flatten().map(Self::Ec)
    }

    /// The public half, as certificates hold it.
    pub fn public(&self) -> Result<Vec<u8>, String> {
        Ok(match self {
            Self::Rsa(key) => {
                let der = key.to_public_key().to_pkcs1_der().map_err(|error| error.to_string())?;
                nested(SEQUENCE, &[&nested(SEQUENCE, &[OID_RSA, NULL]), &bits(der.as_bytes())])
            }
            Self::Ec(secret) => {
                let point = P256::new().public(secret);
                nested(SEQUENCE, &[&nested(SEQUENCE, &[OID_EC, OID_P256]), &bits(&point)])
            }
            Self::Ed25519(seed) => {
                let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|error| error.to_string())?;
                nested(SEQUENCE, &[&tagged(SEQUENCE, OID_ED25519), &bits(pair.public_key().as_ref())])
            }
        })
    }

    /// How this key signs, as certificates name it.
    pub fn algorithm(&self) -> Vec<u8> {
        match self {
            Self::Rsa(_) => nested(SEQUENCE, &[OID_RSA_SHA256, NULL]),
            Self::Ec(_) => tagged(SEQUENCE, OID_EC_SHA256),
            Self::Ed25519(_) => tagged(SEQUENCE, OID_ED25519),
        }
    }

    /// A signature.
    pub fn sign(&self, message: &[u8], stream: &mut Stream) -> Result<Vec<u8>, String> {
        let digest = ring::digest::digest(&ring::digest::SHA256, message);
        match self {
            Self::Rsa(key) => {
                let info = [SHA256_INFO, digest.as_ref()].concat();
                key.sign(Pkcs1v15Sign::new_unprefixed(), &info).map_err(|error| error.to_string())
            }
            Self::Ec(secret) => Ok(P256::new().sign(secret, digest.as_ref(), stream)),
            Self::Ed25519(seed) => {
                let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|error| error.to_string())?;
                Ok(pair.sign(message).as_ref().to_vec())
            }
        }
    }
}

fn ec_secret(bytes: &[u8]) -> Option<BigUint> {
    let (_, content, _) = der::read(bytes)?;
    let parts = der::children(content)?;
    let (tag, secret, _) = *parts.get(1)?;
    let on_p256 = parts.iter().find(|(tag, ..)| *tag == 0xa0).is_none_or(|(_, oid, _)| *oid == OID_P256);
    (tag == OCTET_STRING && secret.len() == 32 && on_p256).then(|| BigUint::from_bytes_be(secret))
}

fn fixed(number: &BigUint) -> [u8; 32] {
    let bytes = number.to_bytes_be();
    let mut out = [0; 32];
    out[32_usize.saturating_sub(bytes.len())..].copy_from_slice(&bytes[bytes.len().saturating_sub(32)..]);
    out
}

/// The curve P-256. It makes keys of charts, where nobody measures how long that takes.
struct P256 {
    prime: BigUint,
    order: BigUint,
    base: Point,
}

/// Nothing is the point at infinity.
type Point = Option<(BigUint, BigUint)>;

impl P256 {
    fn new() -> Self {
        let number = |hex: &[u8]| BigUint::parse_bytes(hex, 16).unwrap_or_default();
        Self {
            prime: number(b"ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
            order: number(b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
            base: Some((
                number(b"6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
                number(b"4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
            )),
        }
    }

    fn inverse(number: &BigUint, prime: &BigUint) -> BigUint {
        number.modpow(&(prime - 2_u8), prime)
    }

    fn minus(&self, a: &BigUint, b: &BigUint) -> BigUint {
        (a + &self.prime - b % &self.prime) % &self.prime
    }

    fn add(&self, a: &Point, b: &Point) -> Point {
        let (Some((ax, ay)), Some((bx, by))) = (a, b) else { return a.clone().or_else(|| b.clone()) };
        let p = &self.prime;
        let slope = if ax == bx {
            if ay != by {
                return None;
            }
            // The curve's a is -3.
            let over = (ax * ax * 3_u8 + p - 3_u8) % p;
            over * Self::inverse(&(ay * 2_u8 % p), p) % p
        } else {
            self.minus(by, ay) * Self::inverse(&self.minus(bx, ax), p) % p
        };
        let x = self.minus(&(&slope * &slope % p), &((ax + bx) % p));
        let y = self.minus(&(slope * self.minus(ax, &x) % p), ay);
        Some((x, y))
    }

    fn times(&self, scalar: &BigUint) -> Point {
        let mut sum: Point = None;
        for byte in scalar.to_bytes_be() {
            for bit in (0..8).rev() {
                sum = self.add(&sum, &sum);
                if byte >> bit & 1 == 1 {
                    sum = self.add(&sum, &self.base);
                }
            }
        }
        sum
    }

    /// Uncompressed.
    fn public(&self, secret: &BigUint) -> Vec<u8> {
        let (x, y) = self.times(secret).unwrap_or_default();
        [&[4][..], &fixed(&x), &fixed(&y)].concat()
    }

    fn sign(&self, secret: &BigUint, digest: &[u8], stream: &mut Stream) -> Vec<u8> {
        let n = &self.order;
        loop {
            let mut bytes = [0; 48];
            stream.fill(&mut bytes);
            let nonce = BigUint::from_bytes_be(&bytes) % (n - 1_u8) + 1_u8;
            let r = self.times(&nonce).map(|(x, _)| x % n).unwrap_or_default();
            let s = Self::inverse(&nonce, n) * (BigUint::from_bytes_be(digest) + &r * secret) % n;
            if r != BigUint::default() && s != BigUint::default() {
                return nested(SEQUENCE, &[&integer(&r.to_bytes_be()), &integer(&s.to_bytes_be())]);
            }
        }
    }
}
