//! Who may talk to this instance. One token today, the administrator's; every listener asks here.

use crate::instance::{Layout, admin_token};
use crate::up::planes::Credentials;
use anyhow::Result;
use async_trait::async_trait;
use model::flow::Repository;
use oci::registry::{Access, Basic, Decision, RegistryAuth};

/// Tokens and whose they are.
pub struct Tokens {
    admin: String,
    /// What other clusters pull with.
    planes: Credentials,
}

/// The person behind the administrator's token.
pub const ADMIN: &str = "admin";

impl Tokens {
    /// Reads, or makes, what the data directory holds.
    pub fn load(layout: &Layout, planes: Credentials) -> Result<Self> {
        Ok(Self { admin: admin_token(layout)?, planes })
    }

    fn person(&self, token: &str) -> Option<&'static str> {
        same(token.as_bytes(), self.admin.as_bytes()).then_some(ADMIN)
    }
}

/// Takes equally long wherever the first difference is.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

impl web::People for Tokens {
    fn who(&self, token: &str) -> Option<String> {
        self.person(token).map(str::to_owned)
    }
}

impl apiserver::Authenticator for Tokens {
    fn authenticate(&self, bearer: &str) -> Option<apiserver::Identity> {
        self.person(bearer).map(apiserver::Identity::master)
    }
}

impl source::GitAuth for Tokens {
    fn authenticate(&self, _user: &str, password: &str) -> Option<String> {
        self.person(password).map(str::to_owned)
    }
    fn may_read(&self, _actor: &str, _repository: &Repository) -> bool {
        true
    }
    fn may_write(&self, _actor: &str, _repository: &Repository) -> bool {
        true
    }
}

#[async_trait]
impl RegistryAuth for Tokens {
    async fn decide(&self, credentials: Option<&Basic>, repository: Option<&str>, access: Access) -> Decision {
        let Some(token) = credentials.map(|basic| basic.password.as_str()) else { return Decision::Unauthorized };
        if self.person(token).is_some() {
            return Decision::Allow;
        }
        let Some(project) = self.planes.project_of(token) else { return Decision::Unauthorized };
        let its = |name: &str| name.split_once('/').is_some_and(|(first, _)| first == project.as_str());
        match access == Access::Pull && repository.is_none_or(its) {
            true => Decision::Allow,
            false => Decision::Denied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn only_the_whole_token_is_the_token() {
        assert!(same(b"abc", b"abc"));
        for wrong in ["", "ab", "abd", "abcd"] {
            assert!(!same(wrong.as_bytes(), b"abc"), "{wrong:?}");
        }
    }
}
