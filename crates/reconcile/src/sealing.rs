//! Secrets on their way to the API server: shown as keyed digests everywhere, in the open only while a plan runs.

use crate::config::Config;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::config::ComponentFile;
use model::flow::{Action, ObjectId, Observation, Plan};
use model::names::workload_namespace;
use model::ports::{PortError, Secrets};
use model::settings::{Chain, Ciphertext, Opened, Plain, Sealed};
use render::settings::{SealedSecret, secret_name};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// So many digests of sealed values are remembered.
const REMEMBERED_MAX: usize = 4096;
/// Where kubectl puts whole objects, values included.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The sealed values behind one component's Secrets: object → key → value.
pub type Behind = BTreeMap<ObjectId, BTreeMap<String, Ciphertext>>;

/// Digests of sealed values, so that they are opened once and not on every look.
#[derive(Default)]
pub struct Digests(HashMap<Ciphertext, Sealed>);

impl Digests {
    /// The secrets of a component as they hold in one environment, with what is sealed behind them.
    ///
    /// # Errors
    /// The outer one: the keys cannot be read now. The inner one, for people: what is missing, or cannot be opened.
    pub fn secrets(
        &mut self,
        port: &dyn Secrets,
        file: &ComponentFile,
        admitted: &Config,
        chain: &Chain,
    ) -> Result<Result<(Vec<SealedSecret>, Behind), String>, PortError> {
        if let Some(lack) = crate::inputs::lacks(file, admitted, chain) {
            return Ok(Err(lack));
        }
        let (mut secrets, mut behind) = (Vec::new(), Behind::new());
        for used in &file.workload.secrets {
            let Some(Ok(secret)) = admitted.secrets.get(&used.name) else { continue };
            let found = match secret.resolve(chain) {
                Ok(found) => found,
                Err(lack) => return Ok(Err(lack)),
            };
            let mut values = BTreeMap::new();
            for (key, value) in &found {
                let digest = match self.digest(port, &value.sealed) {
                    Ok(digest) => digest,
                    Err(PortError::Terminal(why)) => {
                        let command = format!("trimtab secret set {} {key} --env {}", used.name, chain.environment);
                        let place = chain.environment.as_str();
                        return Ok(Err(value.problem(key, place, format!("{why}: {command}")).to_string()));
                    }
                    Err(error) => return Err(error),
                };
                values.insert((*key).to_owned(), digest);
            }
            let id = secret_id(file, chain, &secret_name(&file.component, &used.name));
            behind.insert(id, found.iter().map(|(key, value)| ((*key).to_owned(), value.sealed.clone())).collect());
            secrets.push(SealedSecret { name: used.name.clone(), values, mount_path: used.mount_path.clone() });
        }
        Ok(Ok((secrets, behind)))
    }

    fn digest(&mut self, port: &dyn Secrets, sealed: &Ciphertext) -> Result<Sealed, PortError> {
        if let Some(known) = self.0.get(sealed) {
            return Ok(known.clone());
        }
        let digest = port.digest(port.open(sealed)?.expose())?;
        if self.0.len() >= REMEMBERED_MAX {
            self.0.clear();
        }
        self.0.insert(sealed.clone(), digest.clone());
        Ok(digest)
    }
}

fn secret_id(file: &ComponentFile, chain: &Chain, name: &str) -> ObjectId {
    let namespace = workload_namespace(&file.project, &chain.environment);
    ObjectId { group: String::new(), kind: "Secret".to_owned(), namespace, name: name.to_owned() }
}

/// Values that came in the open: object → key → value.
pub type Open = BTreeMap<ObjectId, BTreeMap<String, Vec<u8>>>;

/// Masks the values of Secrets that came in the open (the registry's credential, a component's own manifests), so that
/// no plan holds them.
pub fn mask_manifests<'a>(port: &dyn Secrets, objects: impl Iterator<Item = &'a mut Value>) -> Result<Open, PortError> {
    let mut open = Open::new();
    for object in objects.filter(|object| is_secret(object)) {
        let mut values = BTreeMap::new();
        for field in ["data", "stringData"] {
            for (key, value) in object.get(field).and_then(Value::as_object).into_iter().flatten() {
                let text = value.as_str().unwrap_or_default();
                let bytes = if field == "data" { STANDARD.decode(text).ok() } else { Some(text.as_bytes().to_vec()) };
                // What does not decode is left for the server to refuse; what is a mask already has its value elsewhere.
                if let Some(bytes) = bytes.filter(|bytes| !bytes.starts_with(b"sealed:")) {
                    values.insert(key.clone(), bytes);
                }
            }
        }
        if values.is_empty() {
            continue;
        }
        let id = ObjectId::of(object);
        let Some(map) = object.as_object_mut() else { continue };
        map.shift_remove("stringData");
        let data = map.entry("data").or_insert_with(|| json!({}));
        for (key, bytes) in &values {
            data[key] = json!(port.digest(bytes)?.mask());
        }
        open.insert(id, values);
    }
    Ok(open)
}

/// Opens what the steps of a plan write.
pub fn open(port: &dyn Secrets, plan: &Plan, behind: &Behind, open: &Open) -> Result<Opened, PortError> {
    let mut opened = Opened::default();
    for step in plan.steps.iter().filter(|step| matches!(step.action, Action::Create | Action::Configure)) {
        for (key, sealed) in behind.get(&step.object).into_iter().flatten() {
            opened.insert(step.object.clone(), key.clone(), port.open(sealed)?);
        }
        for (key, value) in open.get(&step.object).into_iter().flatten() {
            opened.insert(step.object.clone(), key.clone(), Plain::new(value.clone()));
        }
    }
    Ok(opened)
}

/// What stands in the cluster, with every value of a Secret masked: equal values have equal masks.
pub fn mask_observation(port: &dyn Secrets, observation: &mut Observation) -> Result<(), PortError> {
    observation
        .objects
        .values_mut()
        .filter(|object| is_secret(object))
        .try_for_each(|object| mask(port, Arc::make_mut(object), |_| false))
}

/// What would stand, given what was sent: the masks that were sent stay, all other values are masked.
pub fn mask_predicted(port: &dyn Secrets, manifest: &Value, predicted: &mut Value) -> Result<(), PortError> {
    if !is_secret(predicted) {
        return Ok(());
    }
    mask(port, predicted, |(key, value)| manifest.pointer("/data").and_then(|data| data.get(key)) == Some(value))
}

/// Keys of Secrets whose values an API server reads as JSON before it takes them.
const READ_AS_JSON: [&str; 2] = [".dockerconfigjson", ".dockercfg"];

/// What a dry run is asked with: the same masks, in JSON where the server wants that.
pub fn well_formed(manifest: &Value) -> Value {
    let mut asked = manifest.clone();
    if is_secret(manifest) {
        for key in READ_AS_JSON {
            let Some(value) = asked.get_mut("data").and_then(|data| data.get_mut(key)) else { continue };
            *value = json!(STANDARD.encode(json!({ "auths": { "sealed": { "auth": value } } }).to_string()));
        }
    }
    asked
}

/// The answer to that with the masks as they were.
pub fn as_masked(manifest: &Value, asked: &Value, predicted: &mut Value) {
    for key in READ_AS_JSON.iter().filter(|_| is_secret(manifest)) {
        let at = |object: &Value| object.get("data").and_then(|data| data.get(*key)).cloned();
        if let (Some(mask), Some(sent)) = (at(manifest), at(asked))
            && at(predicted) == Some(sent)
        {
            predicted["data"][*key] = mask;
        }
    }
}

fn is_secret(object: &Value) -> bool {
    object["kind"] == "Secret" && object["apiVersion"] == "v1"
}

fn mask(port: &dyn Secrets, object: &mut Value, keep: impl Fn((&str, &Value)) -> bool) -> Result<(), PortError> {
    for field in ["data", "stringData"] {
        for (key, value) in object.get_mut(field).and_then(Value::as_object_mut).into_iter().flatten() {
            if !keep((key, value)) {
                let text = value.as_str().unwrap_or_default();
                let bytes = if field == "data" { STANDARD.decode(text).ok() } else { None };
                *value = json!(port.digest(bytes.as_deref().unwrap_or(text.as_bytes()))?.mask());
            }
        }
    }
    if let Some(value) = object.pointer_mut("/metadata/annotations").and_then(|a| a.get_mut(LAST_APPLIED)) {
        *value = json!("sealed");
    }
    Ok(())
}

/// Masks in a plan's changes, as people should see them: `sealed:1f0c…`.
pub fn tell(plan: &mut Plan) {
    for step in plan.steps.iter_mut().filter(|step| step.object.kind == "Secret" && step.object.group.is_empty()) {
        for value in step.changes.iter_mut().flat_map(|change| [&mut change.before, &mut change.after]).flatten() {
            let decoded =
                value.as_str().and_then(|text| STANDARD.decode(text).ok()).and_then(|b| String::from_utf8(b).ok());
            if let Some(digest) = decoded.filter(|text| text.starts_with("sealed:")) {
                *value = json!(digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ports::Result;

    struct Keys;
    impl Secrets for Keys {
        fn recipient(&self) -> Result<String> {
            Ok("age1".into())
        }
        fn open(&self, sealed: &Ciphertext) -> Result<Plain> {
            Ok(Plain::new(sealed.bytes().to_vec()))
        }
        fn seal(&self, value: &Plain) -> Result<Ciphertext> {
            Ok(Ciphertext::new([b"age-encryption.org/v1\n", value.expose()].concat()).unwrap())
        }
        fn digest(&self, value: &[u8]) -> Result<Sealed> {
            Ok(Sealed::new([value.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)); 32]))
        }
        fn seed(&self, of: &str) -> Result<[u8; 32]> {
            Ok([of.len() as u8; 32])
        }
        fn renew(&self) -> Result<String> {
            self.recipient()
        }
    }

    fn secret(data: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "namespace": "shop-dev"}, "data": data})
    }

    #[test]
    fn an_observation_shows_digests_of_secrets_and_nothing_else_of_them() {
        let mut live = secret(json!({"PASSWORD": STANDARD.encode("hunter2"), "BROKEN": "hunter2!"}));
        live["metadata"]["annotations"] =
            json!({LAST_APPLIED: "{\"stringData\": {\"PASSWORD\": \"hunter2\"}}", "note": "kept"});
        live["stringData"] = json!({"MORE": "hunter2"});
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "db"}, "data": {"LEVEL": "info"}});
        let mut observation = Observation::from_iter([live, map.clone()]);
        mask_observation(&Keys, &mut observation).unwrap();
        let text = format!("{observation:?}");
        assert!(!text.contains("hunter2") && !text.contains(&STANDARD.encode("hunter2")), "{text}");
        assert_eq!(observation.get(&ObjectId::of(&map)), Some(&map));
        let masked = &observation.objects[&ObjectId::of(&secret(json!({})))];
        assert_eq!(masked["data"]["PASSWORD"], json!(Keys.digest(b"hunter2").unwrap().mask()));
        assert_eq!(masked["metadata"]["annotations"]["note"], "kept");
    }

    #[test]
    fn a_dry_run_asks_with_json_where_the_server_reads_json_and_the_mask_comes_back() {
        let mask = STANDARD.encode("sealed:0123");
        let manifest = json!({
            "apiVersion": "v1", "kind": "Secret", "data": { ".dockerconfigjson": mask, "other": mask },
        });
        let asked = well_formed(&manifest);
        let text = STANDARD.decode(asked["data"][".dockerconfigjson"].as_str().unwrap()).unwrap();
        assert!(serde_json::from_slice::<Value>(&text).unwrap().is_object());
        assert_eq!(asked["data"]["other"], manifest["data"]["other"]);
        let mut predicted = asked.clone();
        as_masked(&manifest, &asked, &mut predicted);
        assert_eq!(predicted, manifest);
        // What somebody else wrote there is not taken for ours.
        let mut foreign = json!({ "apiVersion": "v1", "kind": "Secret", "data": { ".dockerconfigjson": "e30=" } });
        as_masked(&manifest, &asked, &mut foreign);
        assert_eq!(foreign["data"][".dockerconfigjson"], "e30=");
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { ".dockercfg": "x" } });
        assert_eq!(well_formed(&map), map);
    }

    #[test]
    fn a_dry_run_shows_no_value_that_others_wrote() {
        let mask = Keys.digest(b"hunter2").unwrap().mask();
        let sent = secret(json!({"PASSWORD": mask}));
        let mut predicted = secret(json!({"PASSWORD": mask, "THEIRS": STANDARD.encode("canary")}));
        mask_predicted(&Keys, &sent, &mut predicted).unwrap();
        assert_eq!(predicted["data"]["PASSWORD"], json!(mask));
        assert_eq!(predicted["data"]["THEIRS"], json!(Keys.digest(b"canary").unwrap().mask()));
    }
}
