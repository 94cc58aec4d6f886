//! Manifests that name what lies elsewhere: rendered until all of it is there.

use model::config::{ComponentFile, EnvironmentFile};
use model::flow::{Manifests, Revision};
use model::ports::{PortError, Repositories};
use model::remote::{Address, Fetched, Remotes};
use model::{Environment, Pin};
use render::kustomize::{Cache, Charts};

/// What is fetched may name more, so often.
const ROUNDS_MAX: usize = 16;
/// Repositories, files and artifacts that one component's manifests may name.
const ADDRESSES_MAX: usize = 32;
/// All of them together.
const BYTES_MAX: usize = 512 << 20;

/// A component that describes itself, in an environment.
pub struct Overlay<'a> {
    pub component: &'a ComponentFile,
    pub pin: &'a Pin,
    pub environment: &'a Environment,
    /// The environment, then those that it is like.
    pub layers: &'a [Environment],
    pub file: &'a EnvironmentFile,
    /// What the charts that it names are rendered with.
    pub charts: Charts,
    pub cache: &'a Cache,
}

/// What a component describes itself, with what it names elsewhere as its revision got it. Only these hosts are reached.
///
/// # Errors
/// What may work when it is tried again; everything else is an error of the manifests.
pub async fn described(
    repositories: &dyn Repositories,
    overlay: &Overlay<'_>,
    revision: &Revision,
    hosts: &[String],
) -> Result<Result<Manifests, render::Error>, PortError> {
    let Overlay { component, pin, environment, layers, file, ref charts, cache } = *overlay;
    let repository = repositories.snapshot(revision, ".").await?;
    let mut remotes = Remotes::new();
    let mut bytes = 0;
    let wrong = |problem: String| {
        let component = component.component.clone();
        Ok(Err(render::Error::Field { component, field: "manifests".into(), problem }))
    };
    for _ in 0..ROUNDS_MAX {
        let input = render::Described {
            component,
            pin,
            environment,
            layers,
            file,
            repository: &repository,
            remotes: &remotes,
            charts,
            cache,
        };
        let addresses = match render::described(&input) {
            Err(render::Error::Remote { addresses }) => addresses,
            made => return Ok(made),
        };
        for address in addresses {
            let fetched = match repositories.elsewhere(revision, &address, hosts).await {
                Ok(fetched) => fetched,
                Err(PortError::Terminal(problem)) => return wrong(problem),
                Err(transient) => return Err(transient),
            };
            bytes += size(&fetched);
            remotes.insert(address.key(), fetched);
            if remotes.len() > ADDRESSES_MAX || bytes > BYTES_MAX {
                return wrong(too_much(&address));
            }
        }
    }
    wrong(format!("what it names elsewhere names more, over more than {ROUNDS_MAX} steps"))
}

fn size(fetched: &Fetched) -> usize {
    match fetched {
        Fetched::File(bytes) => bytes.len(),
        Fetched::Tree(snapshot) => snapshot.files.values().map(|file| file.bytes.len()).sum(),
    }
}

fn too_much(address: &Address) -> String {
    format!(
        "with {address} it names more than {ADDRESSES_MAX} repositories, files and charts elsewhere, or more than {} MiB",
        BYTES_MAX >> 20
    )
}
