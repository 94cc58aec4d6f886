//! Keys, certificates, passwords: stable for a release.

use super::der::{self, OCTET_STRING, SEQUENCE, SET, bits, integer, nested, tagged};
use super::keys::PrivateKey;
use super::random::stream;
use super::{Result, fail, host, table};
use crate::helm::record::Record;
use aes::Aes256;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use std::net::IpAddr;
use template::{Call, Fault, Function, Text, Value, from_bytes, to_bytes};

pub(super) const FUNCTIONS: &[Function] = table! {
    "genPrivateKey" "s" |call| {
        let key = match call.str(0) {
            "" | "rsa" => kept(call, 4096)?,
            "ecdsa" => PrivateKey::ec(&mut stream(call, "ecdsa")).pem().map_err(Fault::plain)?,
            "ed25519" => PrivateKey::ed25519(&mut stream(call, "ed25519")).pem().map_err(Fault::plain)?,
            "dsa" => return fail("keys for DSA are not made any more; use rsa, ecdsa or ed25519"),
            other => format!("Unknown type {other}"),
        };
        Ok(key.into())
    };
    "genCA" "si" |call| { let key = kept(call, 2048)?; authority(call, &key) };
    "genCAWithKey" "sis" |call| { let key = call.text(2); authority(call, &key) };
    "genSelfSignedCert" "sLLi" |call| { let key = kept(call, 2048)?; self_signed(call, &key) };
    "genSelfSignedCertWithKey" "sLLis" |call| { let key = call.text(4); self_signed(call, &key) };
    "genSignedCert" "sLLia" |call| { let key = kept(call, 2048)?; signed(call, &key) };
    "genSignedCertWithKey" "sLLias" |call| { let key = call.text(5); signed(call, &key) };
    "buildCustomCert" "ss" build;
    "bcrypt" "s" |call| { let text = call.text(0); hashed(call, &text).map(Value::from) };
    "htpasswd" "ss" |call| {
        let (user, password) = (call.text(0), call.text(1));
        if user.contains(':') {
            return Ok(format!("invalid username: {user}").into());
        }
        Ok(format!("{user}:{}", hashed(call, &password)?).into())
    };
    "derivePassword" "issss" derived;
    "encryptAES" "ss" encrypt;
    "decryptAES" "ss" decrypt;
};

/// A key for RSA that the chart keeps, because making one takes long.
fn kept(call: &Call<'_, '_>, size: usize) -> Result<String> {
    let mut stream = stream(call, "rsa");
    let texts = &host(call).texts;
    let label = [stream.number(), stream.number(), size as u64];
    if let Some(key) = texts.key(&label) {
        return Ok(key.to_string());
    }
    let key = PrivateKey::rsa(&mut stream, size).and_then(|key| key.pem()).map_err(Fault::plain)?;
    texts.keep(label, key.as_str().into());
    Ok(key)
}

fn pair(cert: &str, key: &str) -> Value {
    Record::new("sprig.certificate", "struct")
        .with_always("Cert", "Cert", cert.into())
        .with_always("Key", "Key", key.into())
        .value()
}

/// What a certificate is for.
struct Request<'c> {
    name: Text,
    ips: Vec<IpAddr>,
    names: Vec<Text>,
    days: i64,
    is_authority: bool,
    key: &'c str,
}

fn listed<T>(value: &Value, what: &str, read: impl Fn(&Text) -> Option<T>) -> Result<Vec<T>> {
    let Value::List(list) = value else { return Ok(Vec::new()) };
    let one = |item: &Value| match item {
        Value::Text(text) => read(text).ok_or_else(|| Fault::plain(format!("error parsing {what}: {text}"))),
        other => fail(format!("error processing {what}: {} is not a string", template::print(other))),
    };
    list.items.iter().map(one).collect()
}

impl<'c> Request<'c> {
    fn of(call: &Call<'_, '_>, key: &'c str) -> Result<Self> {
        Ok(Self {
            name: call.text(0),
            ips: listed(&call.args[1], "ip", |text| text.parse().ok())?,
            names: listed(&call.args[2], "alternate dns name", |text| Some(Text::clone(text)))?,
            days: call.int(3),
            is_authority: false,
            key,
        })
    }
}

fn authority(call: &Call<'_, '_>, key: &str) -> Result {
    let request =
        Request { name: call.text(0), ips: Vec::new(), names: Vec::new(), days: call.int(1), is_authority: true, key };
    issued(call, &request, None)
}

fn self_signed(call: &Call<'_, '_>, key: &str) -> Result {
    issued(call, &Request::of(call, key)?, None)
}

fn signed(call: &Call<'_, '_>, key: &str) -> Result {
    let authority = match &call.args[4] {
        Value::Object(object) => object.field("Cert").zip(object.field("Key")),
        _ => None,
    };
    let Some((Value::Text(cert), Value::Text(signer))) = authority else {
        let found = call.args[4].type_name();
        return fail(format!("wrong type for value; expected sprig.certificate; got {found}"));
    };
    issued(call, &Request::of(call, key)?, Some((&cert, &signer)))
}

/// Name of the subject, and the identifier of the key, of a certificate.
fn issuer(cert: &str) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let (_, bytes) = der::unpem(cert)?;
    let (_, outer, _) = der::read(&bytes)?;
    let (_, body, _) = der::read(outer)?;
    let parts = der::children(body)?;
    // The version stands first, but in the oldest ones.
    let skip = usize::from(parts.first()?.0 == 0xa0);
    let subject = parts.get(skip + 4)?.2.to_vec();
    let mut identifier = None;
    if let Some((_, extensions, _)) = parts.iter().find(|(tag, ..)| *tag == 0xa3) {
        let (_, extensions, _) = der::read(extensions)?;
        for (_, extension, _) in der::children(extensions)? {
            let fields = der::children(extension)?;
            if fields.first()?.1 == [0x55, 0x1d, 0x0e] {
                let (_, value, _) = der::read(fields.last()?.1)?;
                identifier = Some(value.to_vec());
            }
        }
    }
    Some((subject, identifier))
}

fn issued(call: &Call<'_, '_>, request: &Request<'_>, authority: Option<(&str, &str)>) -> Result {
    let key = PrivateKey::parse(request.key).map_err(Fault::plain)?;
    let own_name = common_name(&request.name);
    let public = key.public().map_err(Fault::plain)?;
    let identifier = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &public).as_ref().to_vec();
    let mut entropy = stream(call, "certificate");
    let (signer, name, signer_id) = match authority {
        None => (None, own_name.clone(), request.is_authority.then(|| identifier.clone())),
        Some((cert, signer)) => {
            let Some((name, identifier)) = issuer(cert) else { return fail("unable to parse ca certificate") };
            (Some(PrivateKey::parse(signer).map_err(Fault::plain)?), name, identifier)
        }
    };
    let signer = signer.as_ref().unwrap_or(&key);
    let now = host(call).now;
    let span = jiff::SignedDuration::from_hours(request.days.clamp(0, 100_000) * 24);
    let until = now.checked_add(span).map_err(|error| Fault::plain(error.to_string()))?;
    let mut serial = [0; 16];
    entropy.fill(&mut serial);
    let extensions = extensions(request, &identifier, signer_id.as_deref());
    let body = nested(
        SEQUENCE,
        &[
            &tagged(0xa0, &[0x02, 0x01, 0x02]),
            &integer(&serial),
            &signer.algorithm(),
            &name,
            &nested(SEQUENCE, &[&time(now), &time(until)]),
            &own_name,
            &public,
            &tagged(0xa3, &tagged(SEQUENCE, &extensions)),
        ],
    );
    let signature = signer.sign(&body, &mut entropy).map_err(Fault::plain)?;
    let cert = nested(SEQUENCE, &[&body, &signer.algorithm(), &bits(&signature)]);
    Ok(pair(&der::pem("CERTIFICATE", &cert), &key.pem().map_err(Fault::plain)?))
}

fn common_name(name: &str) -> Vec<u8> {
    let bytes = to_bytes(name);
    // Printable if it can be, else UTF-8.
    let is_printable = |byte: &u8| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(byte);
    let tag = if bytes.iter().all(is_printable) { 0x13 } else { 0x0c };
    if bytes.is_empty() {
        return tagged(SEQUENCE, &[]);
    }
    let pair = nested(SEQUENCE, &[&[0x06, 0x03, 0x55, 0x04, 0x03], &tagged(tag, &bytes)]);
    tagged(SEQUENCE, &tagged(SET, &pair))
}

fn time(time: jiff::Timestamp) -> Vec<u8> {
    let zoned = time.to_zoned(jiff::tz::TimeZone::UTC);
    if (1950..2050).contains(&zoned.year()) {
        tagged(0x17, zoned.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
    } else {
        tagged(0x18, zoned.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
    }
}

fn extensions(request: &Request<'_>, own_id: &[u8], signer_id: Option<&[u8]>) -> Vec<u8> {
    const CRITICAL: &[u8] = &[0x01, 0x01, 0xff];
    let extension = |number: u8, critical: bool, value: &[u8]| {
        let critical: &[u8] = if critical { CRITICAL } else { &[] };
        nested(SEQUENCE, &[&[0x06, 0x03, 0x55, 0x1d, number], critical, &tagged(OCTET_STRING, value)])
    };
    // Digital signature and key encipherment; of an authority signing of certificates too.
    let usage: [u8; 4] = if request.is_authority { [0x03, 0x02, 0x02, 0xa4] } else { [0x03, 0x02, 0x05, 0xa0] };
    let purpose = |last: u8| [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, last];
    let constraints: &[u8] = if request.is_authority { CRITICAL } else { &[] };
    let mut all = extension(0x0f, true, &usage);
    all.extend(extension(0x25, false, &nested(SEQUENCE, &[&purpose(1), &purpose(2)])));
    all.extend(extension(0x13, true, &tagged(SEQUENCE, constraints)));
    if request.is_authority {
        all.extend(extension(0x0e, false, &tagged(OCTET_STRING, own_id)));
    }
    if let Some(identifier) = signer_id.filter(|_| !request.is_authority) {
        all.extend(extension(0x23, false, &tagged(SEQUENCE, &tagged(0x80, identifier))));
    }
    if !request.names.is_empty() || !request.ips.is_empty() {
        let mut names = Vec::new();
        for name in &request.names {
            names.extend(tagged(0x82, name.as_bytes()));
        }
        for ip in &request.ips {
            match ip {
                IpAddr::V4(ip) => names.extend(tagged(0x87, &ip.octets())),
                IpAddr::V6(ip) => names.extend(tagged(0x87, &ip.octets())),
            }
        }
        all.extend(extension(0x11, false, &tagged(SEQUENCE, &names)));
    }
    all
}

fn build(call: &mut Call<'_, '_>) -> Result {
    let decoded = |at: usize| STANDARD.decode(call.str(at)).ok().map(|bytes| from_bytes(&bytes));
    let Some(cert) = decoded(0) else { return fail("unable to decode base64 certificate") };
    let Some(key) = decoded(1) else { return fail("unable to decode base64 private key") };
    if der::unpem(&cert).is_none() {
        return fail("unable to decode certificate");
    }
    if issuer(&cert).is_none() {
        return fail("error parsing certificate: decodedCert.Bytes: it is no certificate");
    }
    if let Err(error) = PrivateKey::parse(&key) {
        return fail(format!("error parsing private key: {error}"));
    }
    Ok(pair(&cert, &key))
}

fn hashed(call: &Call<'_, '_>, text: &str) -> Result<String> {
    let mut salt = [0; 16];
    let mut stream = stream(call, "bcrypt");
    stream.fill(&mut salt);
    let bytes = to_bytes(text);
    if bytes.len() > 72 {
        return Ok("failed to encrypt string with bcrypt: bcrypt: password length exceeds 72 bytes".into());
    }
    // It is slow on purpose, so the chart keeps it like a key.
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    let part = |at: usize| digest.as_ref()[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let label = [stream.number() ^ part(0), stream.number() ^ part(8), part(16)];
    let texts = &host(call).texts;
    if let Some(hash) = texts.key(&label) {
        return Ok(hash.to_string());
    }
    match bcrypt::hash_with_salt(bytes, 10, salt) {
        Ok(parts) => {
            let hash = parts.format_for_version(bcrypt::Version::TwoA);
            texts.keep(label, hash.as_str().into());
            Ok(hash)
        }
        Err(error) => Ok(format!("failed to encrypt string with bcrypt: {error}")),
    }
}

fn cipher(password: &str) -> Aes256 {
    let mut key = [0; 32];
    for (to, from) in key.iter_mut().zip(to_bytes(password).iter()) {
        *to = *from;
    }
    Aes256::new(&key.into())
}

fn encrypt(call: &mut Call<'_, '_>) -> Result {
    let mut plain = to_bytes(call.str(1)).into_owned();
    if plain.is_empty() {
        return Ok("".into());
    }
    let padding = 16 - plain.len() % 16;
    plain.extend(std::iter::repeat_n(u8::try_from(padding).unwrap_or(16), padding));
    let cipher = cipher(call.str(0));
    let mut last = [0; 16];
    stream(call, "encryptAES").fill(&mut last);
    let mut out = last.to_vec();
    for chunk in plain.chunks(16) {
        let mut block = [0; 16];
        for ((to, a), b) in block.iter_mut().zip(chunk).zip(last) {
            *to = a ^ b;
        }
        let mut block = block.into();
        cipher.encrypt_block(&mut block);
        last = block.into();
        out.extend(last);
    }
    Ok(STANDARD.encode(out).into())
}

fn decrypt(call: &mut Call<'_, '_>) -> Result {
    if call.str(1).is_empty() {
        return Ok("".into());
    }
    let Ok(packed) = STANDARD.decode(call.str(1)) else { return fail("illegal base64 data") };
    if packed.len() < 32 || packed.len() % 16 != 0 {
        return fail("crypto/cipher: input not full blocks");
    }
    let cipher = cipher(call.str(0));
    let mut out = Vec::with_capacity(packed.len());
    for pair in packed.windows(32).step_by(16) {
        let mut block = [0; 16];
        block.copy_from_slice(&pair[16..]);
        let mut block = block.into();
        cipher.decrypt_block(&mut block);
        out.extend(block.iter().zip(&pair[..16]).map(|(a, b)| a ^ b));
    }
    let padding = usize::from(out.last().copied().unwrap_or(0));
    match out.len().checked_sub(padding) {
        Some(length) => Ok(from_bytes(&out[..length]).into()),
        None => fail("runtime error: slice bounds out of range"),
    }
}

const PASSWORDS: [(&str, &[&str]); 6] = [
    ("maximum", &["anoxxxxxxxxxxxxxxxxx", "axxxxxxxxxxxxxxxxxno"]),
    (
        "long",
        &[
            "CvcvnoCvcvCvcv",
            "CvcvCvcvnoCvcv",
            "CvcvCvcvCvcvno",
            "CvccnoCvcvCvcv",
            "CvccCvcvnoCvcv",
            "CvccCvcvCvcvno",
            "CvcvnoCvccCvcv",
            "CvcvCvccnoCvcv",
            "CvcvCvccCvcvno",
            "CvcvnoCvcvCvcc",
            "CvcvCvcvnoCvcc",
            "CvcvCvcvCvccno",
            "CvccnoCvccCvcv",
            "CvccCvccnoCvcv",
            "CvccCvccCvcvno",
            "CvcvnoCvccCvcc",
            "CvcvCvccnoCvcc",
            "CvcvCvccCvccno",
            "CvccnoCvcvCvcc",
            "CvccCvcvnoCvcc",
            "CvccCvcvCvccno",
        ],
    ),
    ("medium", &["CvcnoCvc", "CvcCvcno"]),
    ("short", &["Cvcn"]),
    ("basic", &["aaanaaan", "aannaaan", "aaannaaa"]),
    ("pin", &["nnnn"]),
];

fn letters(class: u8) -> &'static [u8] {
    match class {
        b'V' => b"AEIOU",
        b'C' => b"BCDFGHJKLMNPQRSTVWXYZ",
        b'v' => b"aeiou",
        b'c' => b"bcdfghjklmnpqrstvwxyz",
        b'A' => b"AEIOUBCDFGHJKLMNPQRSTVWXYZ",
        b'a' => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz",
        b'n' => b"0123456789",
        b'o' => b"@&%?,=[]_:-+*$#!'^~;()/.",
        _ => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()",
    }
}

fn derived(call: &mut Call<'_, '_>) -> Result {
    const SCOPE: &[u8] = b"com.lyndir.masterpassword";
    let (counter, kind) = (u32::try_from(call.int(0)).unwrap_or(0), call.str(1));
    let Some((_, templates)) = PASSWORDS.iter().find(|(name, _)| *name == kind) else {
        return Ok(format!("cannot find password template {kind}").into());
    };
    let (password, user, site) = (to_bytes(call.str(2)), to_bytes(call.str(3)), to_bytes(call.str(4)));
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let salt = [SCOPE, &length(&user), &user].concat();
    let mut key = [0; 64];
    let params = scrypt::Params::new(15, 8, 2).map_err(|error| Fault::plain(error.to_string()))?;
    scrypt::scrypt(&password, &salt, &params, &mut key).map_err(|error| Fault::plain(error.to_string()))?;
    let message = [SCOPE, &length(&site), &site, &counter.to_be_bytes()].concat();
    let seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &message);
    let seed = seed.as_ref();
    let template = templates[usize::from(seed[0]) % templates.len()];
    let letter = |(class, seed): (u8, &u8)| {
        let letters = letters(class);
        char::from(letters[usize::from(*seed) % letters.len()])
    };
    Ok(template.bytes().zip(&seed[1..]).map(letter).collect::<String>().into())
}
