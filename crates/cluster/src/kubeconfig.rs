//! Kubeconfigs from elsewhere: what is taken of them, and what is refused before anything is connected.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use kube::config::{AuthInfo, Cluster, Kubeconfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// One context of a kubeconfig, complete in itself. Never printed.
#[derive(Clone)]
pub struct Credential {
    config: Kubeconfig,
}

/// Why a kubeconfig is not used. Never holds a value of it but names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the kubeconfig {0}")]
pub struct Unusable(String);

impl Credential {
    /// Takes a context (the current one if `None`) with its cluster and user. Programs of exec plugins run only if
    /// `exec` names them, and nothing is read from other files.
    ///
    /// # Errors
    /// What is missing or not allowed, and what to do instead.
    pub fn parse(text: &str, context: Option<&str>, exec: &[String]) -> Result<Self, Unusable> {
        let fail = |why: String| Err(Unusable(why));
        // The parser's own words could quote a line with a secret.
        let Ok(mut config) = Kubeconfig::from_yaml(text) else {
            return fail("is no kubeconfig: it must be YAML with clusters, users and contexts".into());
        };
        let Some(name) = context.map(str::to_owned).or(config.current_context.take()).filter(|n| !n.is_empty()) else {
            return fail(format!("has no current context: name one with --context ({})", contexts(&config)));
        };
        let Some(mut chosen) = config.contexts.iter().find(|c| c.name == name).cloned() else {
            return fail(format!("has no context {name:?}; it has: {}", contexts(&config)));
        };
        let inner = chosen.context.take().unwrap_or_default();
        let user = inner.user.clone().unwrap_or_default();
        let cluster = config.clusters.iter().find(|c| c.name == inner.cluster && c.cluster.is_some()).cloned();
        let Some(cluster) = cluster else { return fail(format!("has no cluster {:?}", inner.cluster)) };
        let auth = config.auth_infos.iter().find(|a| a.name == user && a.auth_info.is_some()).cloned();
        let Some(auth) = auth else { return fail(format!("has no user {user:?}")) };
        chosen.context = Some(inner);
        check_cluster(cluster.cluster.as_ref().unwrap_or(&Cluster::default()))?;
        check_user(&user, auth.auth_info.as_ref().unwrap_or(&AuthInfo::default()), exec)?;
        let config = Kubeconfig {
            clusters: vec![cluster],
            auth_infos: vec![auth],
            contexts: vec![chosen],
            current_context: Some(name),
            kind: Some("Config".into()),
            api_version: Some("v1".into()),
            ..Kubeconfig::default()
        };
        Ok(Self { config })
    }

    /// A kubeconfig with this context alone, to be kept where only its owner reads.
    pub fn secret_text(&self) -> String {
        serde_json::to_string_pretty(&self.config).expect("a kubeconfig serialises")
    }

    /// Where its API server is.
    pub fn server(&self) -> &str {
        self.config.clusters[0].cluster.as_ref().and_then(|c| c.server.as_deref()).unwrap_or_default()
    }

    pub(crate) fn config(&self) -> Kubeconfig {
        self.config.clone()
    }

    /// Until when its client certificate holds, if it has one.
    pub fn expires(&self) -> Option<Timestamp> {
        let user = self.config.auth_infos[0].auth_info.as_ref()?;
        let pem = BASE64_STANDARD.decode(user.client_certificate_data.as_deref()?).ok()?;
        not_after(&CertificateDer::from_pem_slice(&pem).ok()?)
    }
}

fn contexts(config: &Kubeconfig) -> String {
    let names: Vec<&str> = config.contexts.iter().map(|c| c.name.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn check_cluster(cluster: &Cluster) -> Result<(), Unusable> {
    let server = cluster.server.as_deref().unwrap_or_default();
    if !server.starts_with("https://") {
        return Err(Unusable(format!("names the server {server:?}: it must begin with https://")));
    }
    if cluster.insecure_skip_tls_verify == Some(true) {
        let advice = "give certificate-authority-data instead";
        return Err(Unusable(format!("says insecure-skip-tls-verify, so anybody could be {server}: {advice}")));
    }
    match cluster.certificate_authority {
        Some(_) if cluster.certificate_authority_data.is_none() => Err(elsewhere("certificate-authority")),
        _ => Ok(()),
    }
}

fn check_user(name: &str, user: &AuthInfo, exec: &[String]) -> Result<(), Unusable> {
    if let Some(provider) = &user.auth_provider {
        let advice = "give a token or a client certificate";
        return Err(Unusable(format!("uses the auth provider {:?} for {name}: {advice}", provider.name)));
    }
    if let Some(plugin) = &user.exec {
        let program = plugin.command.clone().unwrap_or_default();
        if !exec.contains(&program) {
            return Err(Unusable(format!(
                "runs the program {program:?} for the credentials of {name}: give a token or a client certificate, or allow it with `trimtab up --allow-exec {program}`"
            )));
        }
    }
    let files = [
        ("client-certificate", &user.client_certificate, user.client_certificate_data.is_some()),
        ("client-key", &user.client_key, user.client_key_data.is_some()),
        ("tokenFile", &user.token_file, user.token.is_some()),
    ];
    match files.iter().find(|(_, path, inline)| path.is_some() && !inline) {
        Some((field, ..)) => Err(elsewhere(field)),
        None => Ok(()),
    }
}

fn elsewhere(field: &str) -> Unusable {
    Unusable(format!(
        "names a file ({field}): it must be complete, as `kubectl config view --flatten --minify` prints it"
    ))
}

/// The end of a certificate's validity. `None` if it is no certificate.
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    // [0] version, serial number, signature algorithm and issuer come first.
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let (tag, time, _) = element(element(validity)?.2)?;
    let text = std::str::from_utf8(time).ok()?;
    let text = match tag {
        0x17 if text.get(..2)? < "50" => format!("20{text}"),
        0x17 => format!("19{text}"),
        _ => text.to_owned(),
    };
    let part = |from: usize, to: usize| text.get(from..to);
    let iso = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?
    );
    iso.parse().ok()
}

/// Tag and content of the first DER element, and what comes after it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if length >= 0x80 {
        let (digits, after) = rest.split_at_checked(length - 0x80).filter(|(digits, _)| digits.len() <= 4)?;
        length = digits.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((*tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(cluster: &str, user: &str) -> String {
        format!(
            "clusters:\n- name: c\n  cluster: {{{cluster}}}\nusers:\n- name: u\n  user: {{{user}}}\ncontexts:\n- name: edge\n  context: {{cluster: c, user: u}}\n- name: broken\n  context: {{cluster: nowhere, user: u}}\ncurrent-context: edge\n"
        )
    }

    #[test]
    fn what_is_not_complete_or_not_safe_is_refused_by_name_and_without_its_secrets() {
        let good = "server: 'https://127.0.0.1:6443'";
        let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/steal, args: [SECRET]}";
        let cases = [
            ("server: 'http://127.0.0.1:6443'", "token: SECRET", "https://"),
            ("server: 'https://a', insecure-skip-tls-verify: true", "token: SECRET", "insecure-skip-tls-verify"),
            ("server: 'https://a', certificate-authority: /etc/ca.pem", "token: SECRET", "certificate-authority"),
            (good, "tokenFile: /root/token", "tokenFile"),
            (good, "client-certificate: /a, client-key-data: SECRET", "client-certificate"),
            (good, "auth-provider: {name: gcp, config: {password: SECRET}}", "gcp"),
            (good, exec, "/bin/steal"),
        ];
        for (cluster, user, word) in cases {
            let error = Credential::parse(&kubeconfig(cluster, user), None, &[]).err().expect(word).to_string();
            assert!(error.contains(word) && !error.contains("SECRET"), "{error}");
        }
        assert!(Credential::parse(&kubeconfig(good, exec), None, &["/bin/steal".into()]).is_ok());
        for (context, word) in [("broken", "nowhere"), ("none", "edge, broken")] {
            let error = Credential::parse(&kubeconfig(good, "token: t"), Some(context), &[]).err().unwrap().to_string();
            assert!(error.contains(word), "{error}");
        }
        for text in ["", "- SECRET", "users: [SECRET]", "\u{0}", "clusters: {SECRET: ["] {
            let error = Credential::parse(text, None, &[]).err().expect(text).to_string();
            assert!(!error.contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn only_the_chosen_context_is_kept() {
        let text = kubeconfig("server: 'https://a:1'", "token: t");
        let more = text.replace("users:\n", "users:\n- name: other\n  user: {token: OTHER}\n");
        let kept = Credential::parse(&more, Some("edge"), &[]).unwrap();
        assert_eq!(kept.server(), "https://a:1");
        assert!(!kept.secret_text().contains("OTHER") && kept.secret_text().contains("\"t\""));
        assert!(Credential::parse(&kept.secret_text(), None, &[]).is_ok());
    }

    #[test]
    fn the_end_of_a_client_certificate_is_read() {
        for (year, expected) in [(2031, "2031-02-03T00:00:00Z"), (2060, "2060-02-03T00:00:00Z")] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut certificate = rcgen::CertificateParams::default();
            certificate.not_after = rcgen::date_time_ymd(year, 2, 3);
            let pem = BASE64_STANDARD.encode(certificate.self_signed(&key).unwrap().pem());
            let text =
                kubeconfig("server: 'https://a:1'", &format!("client-certificate-data: {pem}, client-key-data: eA=="));
            let expires = Credential::parse(&text, None, &[]).unwrap().expires();
            assert_eq!(expires.map(|t| t.to_string()).as_deref(), Some(expected));
        }
        for bytes in [&[][..], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x02, 0x30, 0x00]] {
            assert_eq!(not_after(bytes), None);
        }
    }
}
