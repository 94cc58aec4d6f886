//! A worker between two turns: what it knows, and what it lets run meanwhile.

use super::report::version;
use super::{Attempt, Post, Worker};
use crate::context::Context;
use crate::pod::machine::Machine;
use k8s_openapi::api::core::v1::Pod;
use object::packed::{DICTIONARY_MAX, Dictionary, Packer, Text};
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A worker that rests. Dropping it ends what it lets run.
pub(crate) struct Resting {
    pod: Held,
    /// Of the Pod's object.
    version: Option<u64>,
    machine: Machine,
    tasks: JoinSet<()>,
    halt: Option<CancellationToken>,
    attempts: Box<[Attempt]>,
    ended: Vec<String>,
}

enum Held {
    /// It has only begun to rest.
    Fresh(Arc<Pod>),
    /// It has been looked at once.
    Known(Arc<Pod>),
    Packed(Text),
}

/// Whether an object that is not in use is packed.
#[derive(Debug, PartialEq)]
pub(crate) enum Settled {
    Already,
    Now,
    Later,
}

impl Worker {
    pub(super) fn rest(self) -> Box<Resting> {
        let Self { pod, machine, tasks, halt, attempts, ended, .. } = self;
        let halt = halt.filter(|_| machine.is_preparing());
        Box::new(Resting { version: version(&pod), pod: Held::Fresh(pod), machine, tasks, halt, attempts, ended })
    }
}

impl Resting {
    /// The worker for its next turn.
    pub(crate) fn wake(self, context: Arc<Context>, post: Post, shutdown: CancellationToken) -> Worker {
        let Self { pod, machine, tasks, halt, attempts, ended, .. } = self;
        Worker { context, pod: pod.open(), machine, post, shutdown, tasks, halt, attempts, ended }
    }

    /// Whether an object is the one that this worker knows, or an older one.
    pub(crate) fn knows(&self, pod: &Pod) -> bool {
        version(pod).is_some_and(|version| self.version.is_some_and(|known| version <= known))
    }

    /// Packs the object if it was here at the last look too.
    pub(crate) fn settle(&mut self, packer: &mut Packer, dictionary: &mut Option<Dictionary>) -> Settled {
        self.pod.settle(packer, dictionary)
    }
}

impl Held {
    fn open(self) -> Arc<Pod> {
        match self {
            Self::Fresh(pod) | Self::Known(pod) => pod,
            Self::Packed(text) => {
                // As the client reads answers: reading bytes would be a second copy of all that code.
                let text = text.get();
                let json = std::str::from_utf8(&text).expect("JSON is UTF-8");
                Arc::new(serde_json::from_str(json).expect("what was written here can be read"))
            }
        }
    }

    /// The first that is packed becomes the dictionary.
    fn settle(&mut self, packer: &mut Packer, dictionary: &mut Option<Dictionary>) -> Settled {
        match self {
            Self::Packed(_) => Settled::Already,
            Self::Fresh(pod) => {
                *self = Self::Known(pod.clone());
                Settled::Later
            }
            Self::Known(pod) => {
                let json = serde_json::to_vec(&**pod).expect("what was read from JSON can be written");
                if json.len() <= DICTIONARY_MAX {
                    dictionary.get_or_insert_with(|| json.as_slice().into());
                }
                let text = Text::new(json.into());
                if let Some(dictionary) = dictionary {
                    text.pack(packer, dictionary);
                }
                *self = Self::Packed(text);
                Settled::Now
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str) -> Pod {
        let env: Vec<Value> = (0..20).map(|n| json!({"name": format!("NAME_{n}"), "value": n.to_string()})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "7"},
            "spec": {"containers": [{"name": "main", "image": "img", "env": env}], "activeDeadlineSeconds": 5},
            "status": {"podIP": "10.0.0.1", "startTime": "2026-01-01T00:00:00Z", "conditions": []}
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_that_rests_is_packed_at_the_second_look_and_opens_as_it_was() {
        let (mut packer, mut dictionary) = (Packer::default(), None);
        for name in ["a", "b", "c"] {
            let mut held = Held::Fresh(Arc::new(pod(name)));
            let looks: Vec<Settled> = (0..3).map(|_| held.settle(&mut packer, &mut dictionary)).collect();
            assert_eq!(looks, [Settled::Later, Settled::Now, Settled::Already]);
            let Held::Packed(text) = &held else { panic!("it is not packed") };
            assert!(text.held() * 4 < text.length(), "{} of {} bytes", text.held(), text.length());
            assert_eq!(*held.open(), pod(name));
        }
    }
}
