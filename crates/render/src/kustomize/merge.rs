//! Strategic merge, as kustomize does it.
//!
//! It differs from what an API server does: what the patch touches comes first in lists, empty nulls vanish from every
//! map that is walked through, and items of lists that lack their key have effects of their own. Output must be the
//! same to the byte, so the steps are those of the original.

use super::schema::{Type, Types};
use super::tree::{Node, Scalar};
use std::collections::HashSet;

/// Deeper nesting cannot be read.
const DEPTH_MAX: usize = 200;

/// The object with the patch merged in; `None` if the patch deletes it.
pub(super) fn merge(target: Node, patch: Node, types: &Types) -> Result<Option<Node>, String> {
    let walker = Walker { types, depth: DEPTH_MAX };
    walker.walk(Some(target), Patch::Some(patch), None).map(Merged::into_node)
}

/// What is merged into a value.
enum Patch {
    None,
    Some(Node),
    /// The value itself: what was not there before is cleaned of directives and nulls.
    Same,
}

/// The outcome of merging.
enum Merged {
    /// Nothing is left.
    Gone,
    /// The target, changed in place.
    Target(Node),
    /// Another value in its stead.
    Other(Node),
}

impl Merged {
    fn into_node(self) -> Option<Node> {
        match self {
            Self::Gone => None,
            Self::Target(node) | Self::Other(node) => Some(node),
        }
    }
}

/// What `$patch` asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

const DIRECTIVE: &str = "$patch";

#[derive(Clone, Copy)]
struct Walker<'t> {
    types: &'t Types,
    depth: usize,
}

impl Walker<'_> {
    fn walk(self, target: Option<Node>, patch: Patch, ty: Option<Type<'_>>) -> Result<Merged, String> {
        let depth = self.depth.checked_sub(1).ok_or("the patch is nested too deep")?;
        let walker = Self { depth, ..self };
        let ty = ty.or_else(|| self.own_type(target.as_ref(), &patch));
        let kind = |node: &Node| (!node.is_null()).then(|| std::mem::discriminant(node));
        let patch_kind = if let Patch::Some(node) = &patch { kind(node) } else { None };
        let target_kind = target.as_ref().and_then(kind);
        if let (Some(own), Some(other), Some(target), Patch::Some(node)) = (target_kind, patch_kind, &target, &patch)
            && own != other
        {
            return Err(format!("the patch has {} where {} stands", node.kind(), target.kind()));
        }
        let shape = match (&target, &patch) {
            (Some(node), _) if !node.is_null() => Some(node),
            (_, Patch::Some(node)) if !node.is_null() => Some(node),
            _ => None,
        };
        match shape {
            Some(Node::Scalar(_)) => Ok(scalar(target, patch)),
            Some(Node::List(_)) => match ty.and_then(|ty| ty.merge_keys().map(|keys| (ty, keys))) {
                Some((ty, keys)) => walker.list(target, patch, ty.items(), keys),
                None => Ok(scalar(target, patch)),
            },
            _ => walker.map(target, patch, ty),
        }
    }

    /// Of an object, alone or inside of something that has no type.
    fn own_type(&self, target: Option<&Node>, patch: &Patch) -> Option<Type<'_>> {
        let patch = if let Patch::Some(node) = patch { Some(node) } else { None };
        let text = |node: &Node, field: &str| node.get(field).map_or("", Node::value).to_owned();
        let ty = |node: &Node| self.types.of(&text(node, "apiVersion"), &text(node, "kind"));
        target.and_then(ty).or_else(|| patch.and_then(ty))
    }

    fn map(self, target: Option<Node>, patch: Patch, ty: Option<Type<'_>>) -> Result<Merged, String> {
        match (target, patch) {
            (None, Patch::None | Patch::Same) => Ok(Merged::Gone),
            (Some(node), Patch::Same) if node.is_null() => Ok(Merged::Gone),
            (Some(node), Patch::None) if node.is_null() => {
                // `key: null` stays unless it comes from a patch, `key:` does not.
                Ok(if node.raw().is_empty() { Merged::Gone } else { Merged::Target(node) })
            }
            (Some(node), Patch::None) => self.fields(node, Patch::None, ty).map(Merged::Target),
            (Some(mut node), Patch::Same) => match take_directive(&mut node)? {
                Directive::Delete => Ok(Merged::Gone),
                Directive::Merge | Directive::Replace => self.fields(node, Patch::Same, ty).map(Merged::Target),
            },
            (None, Patch::Some(node)) => self.fresh(node, ty),
            (Some(target), Patch::Some(node)) if target.is_null() => self.fresh(node, ty),
            (Some(_), Patch::Some(node)) if node.is_null() => Ok(Merged::Gone),
            (Some(target), Patch::Some(mut node)) => match take_directive(&mut node)? {
                Directive::Delete => Ok(Merged::Gone),
                Directive::Merge => self.fields(target, Patch::Some(node), ty).map(Merged::Target),
                Directive::Replace => self.fields(node, Patch::Same, ty).map(Merged::Other),
            },
        }
    }

    /// What the patch puts where nothing was.
    fn fresh(self, mut node: Node, ty: Option<Type<'_>>) -> Result<Merged, String> {
        // An unknown directive is obeyed no more than none here, and found on the way down.
        if let Ok(Directive::Delete) = take_directive(&mut node) {
            return Ok(Merged::Gone);
        }
        if node.is_null() {
            return Ok(Merged::Gone);
        }
        self.fields(node, Patch::Same, ty).map(Merged::Other)
    }

    /// Merges field by field. New fields come in the order of their names.
    fn fields(self, target: Node, patch: Patch, ty: Option<Type<'_>>) -> Result<Node, String> {
        let Node::Map(pairs) = target else { return Ok(target) };
        let mut result = Node::Map(Vec::with_capacity(pairs.len()));
        let same = matches!(patch, Patch::Same);
        let mut changes = match patch {
            Patch::Some(Node::Map(pairs)) => Some(pairs),
            _ => None,
        };
        let mut seen: HashSet<String> = HashSet::new();
        for (key, value) in pairs {
            if !seen.insert(key.text.clone()) {
                // A key that stands twice is found when the object is printed.
                if let Node::Map(pairs) = &mut result {
                    pairs.push((key, value));
                }
                continue;
            }
            let change = match &mut changes {
                _ if same => Patch::Same,
                Some(changes) => match changes.iter().position(|(other, _)| other.text == key.text) {
                    Some(at) => Patch::Some(changes.remove(at).1),
                    None => Patch::None,
                },
                None => Patch::None,
            };
            let field = ty.map(|ty| ty.field(&key.text));
            let style_of = if let Node::Scalar(scalar) = &value { Some(scalar.style) } else { None };
            let merged = match self.walk(Some(value), change, field)? {
                Merged::Gone => None,
                Merged::Target(node) => Some(node),
                Merged::Other(node) if is_dropped(&node) => None,
                Merged::Other(mut node) => {
                    if let (Node::Scalar(scalar), style) = (&mut node, style_of) {
                        scalar.style = style.unwrap_or(yaml::Style::Plain);
                    }
                    Some(node)
                }
            };
            if let (Some(node), Node::Map(pairs)) = (merged, &mut result) {
                pairs.push((key, node));
            }
        }
        let mut added = changes.unwrap_or_default();
        added.sort_by(|(a, _), (b, _)| a.text.cmp(&b.text));
        for (key, value) in added {
            let field = ty.map(|ty| ty.field(&key.text));
            let merged = self.walk(None, Patch::Some(value), field)?.into_node();
            if let (Some(node), Node::Map(pairs)) = (merged.filter(|node| !is_dropped(node)), &mut result) {
                pairs.push((key, node));
            }
        }
        Ok(result)
    }

    /// A list whose items merge by keys.
    fn list(self, target: Option<Node>, patch: Patch, ty: Type<'_>, keys: &[String]) -> Result<Merged, String> {
        let items = |node: Node| if let Node::List(items) = node { items } else { Vec::new() };
        match (target.filter(|node| !node.is_null()), patch) {
            (Some(target), Patch::None) => self.items(items(target), Patch::None, ty, keys).map(Merged::Target),
            (Some(target), Patch::Same) => {
                let mut list = items(target);
                match take_list_directive(&mut list)? {
                    Directive::Delete => Ok(Merged::Gone),
                    _ => self.items(list, Patch::Same, ty, keys).map(Merged::Target),
                }
            }
            (None, Patch::Some(node)) => self.items(items(node), Patch::Same, ty, keys).map(Merged::Other),
            (Some(_), Patch::Some(node)) if node.is_null() => Ok(Merged::Gone),
            (Some(target), Patch::Some(node)) => {
                let mut list = items(node);
                match take_list_directive(&mut list)? {
                    Directive::Delete => Ok(Merged::Gone),
                    Directive::Replace => self.items(list, Patch::Same, ty, keys).map(Merged::Other),
                    Directive::Merge => {
                        self.items(items(target), Patch::Some(Node::List(list)), ty, keys).map(Merged::Target)
                    }
                }
            }
            (None, Patch::None | Patch::Same) => Ok(Merged::Gone),
        }
    }

    /// Merges item by item: those of the patch first, then the rest.
    fn items(self, mut target: Vec<Node>, patch: Patch, ty: Type<'_>, keys: &[String]) -> Result<Node, String> {
        let plain = [String::new()];
        let (keys, plainly) = if keys.is_empty() { (&plain[..], true) } else { (keys, false) };
        let same = matches!(patch, Patch::Same);
        let changes = if let Patch::Some(Node::List(items)) = patch { Some(items) } else { None };
        let mut values: Vec<Vec<String>> = Vec::new();
        for list in [changes.as_deref(), Some(target.as_slice())].into_iter().flatten() {
            for item in list {
                let value = if plainly { vec![item.raw().to_owned()] } else { values_of(item, keys) };
                if !values.contains(&value) {
                    values.push(value);
                }
            }
        }
        if keys.len() > 1 {
            unite(&mut values);
        }
        let mut merged: Vec<Node> = Vec::new();
        let mut valid_keys: Vec<String> = Vec::new();
        for value in &values {
            let (used_keys, used_values) = valid(&values, value, keys);
            let at = find(&target, &used_keys, &used_values);
            let change = match &changes {
                _ if same => Patch::Same,
                Some(changes) => find(changes, &used_keys, &used_values)
                    .and_then(|at| changes.get(at))
                    .map_or(Patch::None, |item| Patch::Some(item.clone())),
                None => Patch::None,
            };
            let own = at.and_then(|at| target.get(at).cloned());
            let outcome = match (own, change) {
                (None, Patch::None | Patch::Same) => Merged::Gone,
                (own, change) => self.walk(own, change, Some(ty))?,
            };
            if let (Some(at), Merged::Target(node)) = (at, &outcome) {
                target[at] = node.clone();
            }
            match outcome.into_node().filter(|node| !is_nothing(node)) {
                None => put(&mut target, None, &used_keys, &used_values),
                Some(mut node) => {
                    for (key, value) in used_keys.iter().zip(&used_values) {
                        name_item(&mut node, key, value)?;
                    }
                    put(&mut merged, Some(node), &used_keys, &used_values);
                }
            }
            valid_keys = used_keys;
        }
        if values.is_empty() {
            return Ok(Node::List(target));
        }
        append(&mut merged, target, &valid_keys);
        Ok(Node::List(merged))
    }
}

/// The patch's value if there is one.
fn scalar(target: Option<Node>, patch: Patch) -> Merged {
    match (target, patch) {
        (_, Patch::Some(node)) => Merged::Other(node),
        (Some(node), Patch::None | Patch::Same) => Merged::Target(node),
        (None, Patch::None | Patch::Same) => Merged::Gone,
    }
}

/// A field with this value is removed.
fn is_dropped(node: &Node) -> bool {
    node.is_null()
}

/// Null, or a map without fields: no item of a list.
fn is_nothing(node: &Node) -> bool {
    node.is_null() || matches!(node, Node::Map(pairs) if pairs.is_empty())
}

fn take_directive(node: &mut Node) -> Result<Directive, String> {
    let Some(word) = node.get(DIRECTIVE).map(|word| word.raw().to_owned()) else { return Ok(Directive::Merge) };
    let directive = directive(&word)?;
    node.remove(DIRECTIVE);
    Ok(directive)
}

fn directive(word: &str) -> Result<Directive, String> {
    match word {
        "merge" => Ok(Directive::Merge),
        "replace" => Ok(Directive::Replace),
        "delete" => Ok(Directive::Delete),
        other => Err(format!("$patch: {other} is none of merge, replace and delete")),
    }
}

/// The directive of a list is an item of its own: `- $patch: replace`.
fn take_list_directive(items: &mut Vec<Node>) -> Result<Directive, String> {
    let Some(item) = items.iter().find(|item| item.get(DIRECTIVE).is_some()) else { return Ok(Directive::Merge) };
    if item.pairs().len() > 1 {
        return Ok(Directive::Merge);
    }
    let word = item.get(DIRECTIVE).map_or("", Node::raw).to_owned();
    let directive = directive(&word)?;
    put(items, None, &[DIRECTIVE.to_owned()], &[word]);
    Ok(directive)
}

/// The values of an item's keys; empty ones for what it lacks.
fn values_of(item: &Node, keys: &[String]) -> Vec<String> {
    let value = |key: &String| item.get(key).filter(|value| !value.is_empty()).map_or("", Node::raw).to_owned();
    keys.iter().map(value).collect()
}

/// Items that have one key in common and contradict each other in none are the same.
fn unite(values: &mut [Vec<String>]) {
    for i in 0..values.len() {
        for j in 0..values.len() {
            if let Some(both) = united(&values[i], &values[j]) {
                values[i].clone_from(&both);
                values[j] = both;
            }
        }
    }
}

fn united(a: &[String], b: &[String]) -> Option<Vec<String>> {
    let mut common = false;
    let mut result = Vec::with_capacity(a.len());
    for (a, b) in a.iter().zip(b) {
        match (a.as_str(), b.as_str()) {
            (left, right) if left == right => {
                common = true;
                result.push(a.clone());
            }
            ("", _) => result.push(b.clone()),
            (_, "") => result.push(a.clone()),
            _ => return None,
        }
    }
    common.then_some(result)
}

/// The keys that any item has, and this item's values of them; all keys if no item has one.
fn valid(all: &[Vec<String>], values: &[String], keys: &[String]) -> (Vec<String>, Vec<String>) {
    let used: Vec<bool> =
        (0..keys.len()).map(|at| all.iter().any(|values| values.get(at).is_some_and(|v| !v.is_empty()))).collect();
    if !used.contains(&true) {
        return (keys.to_vec(), values.to_vec());
    }
    let kept =
        |list: &[String]| list.iter().zip(&used).filter(|(_, used)| **used).map(|(word, _)| word.clone()).collect();
    (kept(keys), kept(values))
}

/// The first item with these values.
fn find(items: &[Node], keys: &[String], values: &[String]) -> Option<usize> {
    let (keys, values) = valid(&[values.to_vec()], values, keys);
    if keys.first().is_none_or(String::is_empty) {
        let wanted = values.first().map_or("", String::as_str);
        return items.iter().position(|item| item.raw() == wanted);
    }
    let has = |item: &Node, key: &str, value: &str| item.get(key).is_some_and(|found| found.raw() == value);
    items.iter().position(|item| {
        matches!(item, Node::Map(_)) && keys.iter().zip(&values).all(|(key, value)| has(item, key, value))
    })
}

/// Writes the value of a key into an item that lacks it.
fn name_item(node: &mut Node, key: &str, value: &str) -> Result<(), String> {
    if value.is_empty() || node.get(key).is_some() {
        return Ok(());
    }
    if key.is_empty() {
        return node.assign(Scalar::open(value));
    }
    node.set(key, Scalar::open(value));
    Ok(())
}

/// Puts an item in the place of those that have these values, or behind all; without an item, those are removed.
/// Nulls and empty maps vanish.
fn put(items: &mut Vec<Node>, item: Option<Node>, keys: &[String], values: &[String]) {
    let by_key = keys.first().is_some_and(|key| !key.is_empty()) && values.first().is_some_and(|v| !v.is_empty());
    let mut found = false;
    let mut result = Vec::with_capacity(items.len() + 1);
    for old in items.drain(..) {
        if is_nothing(&old) {
            continue;
        }
        if by_key && !matches!(old, Node::Map(_)) {
            result.push(old);
            continue;
        }
        if !has_values(&old, keys, values) {
            if !values.is_empty() {
                result.push(old);
            }
            continue;
        }
        found = true;
        result.extend(item.clone());
    }
    if !found && let Some(item) = item.filter(|item| !item.is_null()) {
        result.push(item);
    }
    *items = result;
}

/// An absent value is matched by any: that is how the original looks for it.
fn has_values(item: &Node, keys: &[String], values: &[String]) -> bool {
    let mut matched = false;
    for (at, key) in keys.iter().enumerate() {
        if let Some(value) = values.get(at) {
            matched = if key.is_empty() {
                item.raw() == value
            } else {
                item.get(key).is_some_and(|found| value.is_empty() || found.raw() == value)
            };
        }
        if !matched {
            return false;
        }
    }
    true
}

/// Adds the items of a list to those that were merged, in the places of the merged ones.
fn append(merged: &mut Vec<Node>, items: Vec<Node>, keys: &[String]) {
    for item in items {
        if keys.first().is_none_or(String::is_empty) {
            let value = [item.raw().to_owned()];
            put(merged, Some(item), keys, &value);
            continue;
        }
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            match item.get(key) {
                Some(value) => values.push(value.raw().to_owned()),
                None => merged.push(item.clone()),
            }
        }
        if keys.len() > 1 {
            put(merged, None, keys, &values);
        }
        put(merged, Some(item), keys, &values);
    }
}
