//! The order of keys.

use std::cmp::Ordering;

/// Sorts the pairs of a map in natural order.
pub(super) fn sort<'v, T>(pairs: &mut [(&'v str, &'v T)]) {
    // Symbols before digits, and letters: natural order is that of bytes, and a proper one.
    let is_simple = |key: &str| key.bytes().all(|byte| byte < b'0' || byte.is_ascii_alphabetic());
    if !pairs.iter().all(|(key, _)| is_simple(key)) {
        let sorted = merge_sorted(pairs.to_vec());
        pairs.copy_from_slice(&sorted);
    } else if !pairs.is_sorted_by_key(|(key, _)| *key) {
        pairs.sort_unstable_by_key(|(key, _)| *key);
    }
}

/// The order is none where digits meet letters (`a2` < `a10` < `a1b` < `a2`), so that no library may sort by it.
fn merge_sorted<'v, T>(mut pairs: Vec<(&'v str, &'v T)>) -> Vec<(&'v str, &'v T)> {
    if pairs.len() < 2 {
        return pairs;
    }
    let right = merge_sorted(pairs.split_off(pairs.len() / 2));
    let mut left = merge_sorted(pairs).into_iter().peekable();
    let mut merged = Vec::with_capacity(left.len() + right.len());
    for pair in right {
        while let Some(before) = left.next_if(|before| natural(before.0, pair.0).is_le()) {
            merged.push(before);
        }
        merged.push(pair);
    }
    merged.extend(left);
    merged
}

/// Numbers inside keys by value; symbols, then digits, then letters.
fn natural(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        return compared(a.as_bytes(), b.as_bytes(), |byte| char::from(*byte));
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    compared(&a, &b, |character| *character)
}

fn compared<C: PartialEq + Ord + Copy>(a: &[C], b: &[C], character: impl Fn(&C) -> char) -> Ordering {
    let Some(at) = a.iter().zip(b).position(|(a, b)| a != b) else { return a.len().cmp(&b.len()) };
    match (character(&a[at]).is_alphabetic(), character(&b[at]).is_alphabetic()) {
        (true, true) => return a[at].cmp(&b[at]),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // Zeros behind other digits are part of a number, in front they are not.
    let before = || a[..at].iter().rev().map(&character).take_while(|character| character.is_numeric());
    let inside = (character(&a[at]) == '0' || character(&b[at]) == '0') && before().any(|character| character != '0');
    let number = |text: &[C]| {
        let digits = text[at..].iter().map(&character).take_while(|character| character.is_numeric());
        let start = (i64::from(inside), at);
        digits.fold(start, |(number, end), digit| {
            let digit = i64::from(u32::from(digit)) - i64::from(u32::from('0'));
            (number.wrapping_mul(10).wrapping_add(digit), end + 1)
        })
    };
    number(a).cmp(&number(b)).then(a[at].cmp(&b[at]))
}

#[cfg(test)]
mod tests {
    use super::{merge_sorted, sort};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn simple_keys_sort_as_all_do(keys in prop::collection::btree_set("[a-cX.$/-]{0,4}", 0..12)) {
            let keys: Vec<String> = keys.into_iter().collect();
            let mut shuffled: Vec<(&str, &())> = keys.iter().rev().map(|key| (key.as_str(), &())).collect();
            let merged = merge_sorted(shuffled.clone());
            sort(&mut shuffled);
            prop_assert_eq!(shuffled, merged);
        }
    }
}
