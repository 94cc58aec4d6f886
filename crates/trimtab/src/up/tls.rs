//! The certificate of the Kubernetes API's listener: a small authority of this instance, made once.

use crate::instance::{Layout, Written, write_durably};
use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

/// Reads the certificate, or makes authority and certificate first.
pub fn server_config(layout: &Layout) -> Result<Arc<ServerConfig>> {
    let (certificate, key) = (layout.keys().join("apiserver.pem"), layout.keys().join("apiserver.key"));
    if !certificate.exists() || !key.exists() || !layout.keys().join("ca.pem").exists() {
        make(layout)?;
    }
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("reading {}", certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(&key).with_context(|| format!("reading {}", key.display()))?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The authority's certificate, for those who must trust it.
pub fn authority(layout: &Layout) -> Result<String> {
    let path = layout.keys().join("ca.pem");
    std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

fn make(layout: &Layout) -> Result<()> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "trimtab");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let key = KeyPair::generate()?;
    let names = ["localhost", "kubernetes", "kubernetes.default.svc", "127.0.0.1", "::1"].map(str::to_owned);
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, "trimtab kubernetes api");
    let server = server.signed_by(&key, &issuer)?;

    let keys = layout.keys();
    write_durably(Written::Key, &keys.join("apiserver.key"), key.serialize_pem().as_bytes(), 0o600)?;
    write_durably(Written::Key, &keys.join("apiserver.pem"), server.pem().as_bytes(), 0o644)?;
    write_durably(Written::Key, &keys.join("ca.pem"), authority_pem.as_bytes(), 0o644)
}
