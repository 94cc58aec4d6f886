//! How two texts differ, as people read it: `diff -u` without its head.

/// Lines around a difference that are shown with it.
const CONTEXT: usize = 3;
/// Texts that differ in more lines than this are shown as taken away and put there anew: the shortest way from one to
/// the other is not worth its time.
const DIFFERENCES_MAX: usize = 2000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    Keep(usize, usize),
    Delete(usize),
    Insert(usize),
}

/// The hunks between two texts; empty if they are the same.
pub fn unified(before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let edits = edits(&old, &new);
    let mut text = String::new();
    let mut at = 0;
    while let Some(first) = edits[at..].iter().position(|edit| !matches!(edit, Edit::Keep(..))).map(|first| at + first)
    {
        let start = first.saturating_sub(CONTEXT).max(at);
        // Differences that are near to each other are one hunk.
        let (mut end, mut quiet) = (first, 0);
        for (index, edit) in edits.iter().enumerate().skip(first) {
            if matches!(edit, Edit::Keep(..)) {
                quiet += 1;
                if quiet > 2 * CONTEXT {
                    break;
                }
            } else {
                (end, quiet) = (index + 1, 0);
            }
        }
        let end = (end + CONTEXT).min(edits.len());
        text.push_str(&hunk(&edits[start..end], &old, &new, position(&edits[..start])));
        at = end;
    }
    if text.is_empty() {
        text.push_str("@@ the end of the last line @@\n");
    }
    text
}

/// Lines before this place, in both texts.
fn position(edits: &[Edit]) -> (usize, usize) {
    edits.iter().fold((0, 0), |(old, new), edit| match edit {
        Edit::Keep(..) => (old + 1, new + 1),
        Edit::Delete(_) => (old + 1, new),
        Edit::Insert(_) => (old, new + 1),
    })
}

fn hunk(edits: &[Edit], old: &[&str], new: &[&str], (before, after): (usize, usize)) -> String {
    let (removed, added) = position(edits);
    let range = |start: usize, count: usize| match count {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        _ => format!("{},{count}", start + 1),
    };
    let mut text = format!("@@ -{} +{} @@\n", range(before, removed), range(after, added));
    for edit in edits {
        match *edit {
            Edit::Keep(index, _) => text.push_str(&format!(" {}\n", old[index])),
            Edit::Delete(index) => text.push_str(&format!("-{}\n", old[index])),
            Edit::Insert(index) => text.push_str(&format!("+{}\n", new[index])),
        }
    }
    text
}

/// The shortest way from one to the other (Myers), after what is the same at both ends.
fn edits(old: &[&str], new: &[&str]) -> Vec<Edit> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut found: Vec<Edit> = (0..head).map(|index| Edit::Keep(index, index)).collect();
    found.extend(middle(a, b).into_iter().map(|edit| match edit {
        Edit::Keep(i, j) => Edit::Keep(i + head, j + head),
        Edit::Delete(i) => Edit::Delete(i + head),
        Edit::Insert(j) => Edit::Insert(j + head),
    }));
    found.extend((0..tail).map(|index| Edit::Keep(old.len() - tail + index, new.len() - tail + index)));
    found
}

fn middle(a: &[&str], b: &[&str]) -> Vec<Edit> {
    let (n, m) = (a.len() as isize, b.len() as isize);
    let limit = (a.len() + b.len()).min(DIFFERENCES_MAX) as isize;
    let offset = limit + 1;
    // `furthest[k]`: how far into `a` one comes on diagonal k with so many differences.
    let mut furthest = vec![0_isize; (2 * limit + 3) as usize];
    let mut trace: Vec<Vec<isize>> = Vec::new();
    for d in 0..=limit {
        trace.push(furthest[(offset - d - 1).max(0) as usize..=(offset + d + 1) as usize].to_vec());
        for k in (-d..=d).step_by(2) {
            let at = |k: isize| furthest[(offset + k) as usize];
            let down = k == -d || (k != d && at(k - 1) < at(k + 1));
            let mut x = if down { at(k + 1) } else { at(k - 1) + 1 };
            let mut y = x - k;
            while x < n && y < m && a[x as usize] == b[y as usize] {
                (x, y) = (x + 1, y + 1);
            }
            furthest[(offset + k) as usize] = x;
            if x >= n && y >= m {
                return back(&trace, n, m);
            }
        }
    }
    (0..a.len()).map(Edit::Delete).chain((0..b.len()).map(Edit::Insert)).collect()
}

/// The way that was found, from its end.
fn back(trace: &[Vec<isize>], mut x: isize, mut y: isize) -> Vec<Edit> {
    let mut found = Vec::new();
    for (d, seen) in trace.iter().enumerate().rev() {
        let d = d as isize;
        // Each round keeps its diagonals from -d-1 on.
        let at = |k: isize| seen[(k + d + 1) as usize];
        let k = x - y;
        let down = k == -d || (k != d && at(k - 1) < at(k + 1));
        let from = if down { k + 1 } else { k - 1 };
        let (px, py) = if d == 0 { (0, 0) } else { (at(from), at(from) - from) };
        while x > px && y > py {
            (x, y) = (x - 1, y - 1);
            found.push(Edit::Keep(x as usize, y as usize));
        }
        if d > 0 {
            found.push(if down { Edit::Insert(py as usize) } else { Edit::Delete(px as usize) });
            (x, y) = (px, py);
        }
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_shown_with_what_is_around_them() {
        let lines = |range: std::ops::Range<u32>| range.map(|n| format!("{n}\n")).collect::<String>();
        let cases = [
            ("a\nb\n".to_owned(), "a\nb\n".to_owned(), ""),
            ("a\nb\nc\n".into(), "a\nx\nc\n".into(), "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n"),
            (String::new(), "a\n".into(), "@@ -0,0 +1 @@\n+a\n"),
            ("a\n".into(), String::new(), "@@ -1 +0,0 @@\n-a\n"),
            ("a".into(), "a\n".into(), "@@ the end of the last line @@\n"),
            (
                lines(0..20),
                lines(0..5) + "new\n" + &lines(5..19),
                "@@ -3,6 +3,7 @@\n 2\n 3\n 4\n+new\n 5\n 6\n 7\n@@ -17,4 +18,3 @@\n 16\n 17\n 18\n-19\n",
            ),
        ];
        for (before, after, expect) in cases {
            assert_eq!(unified(&before, &after), expect, "{before:?} {after:?}");
        }
    }

    #[test]
    fn what_is_shown_leads_from_one_to_the_other() {
        // All words of up to five letters over two: short, and every shape of difference is among them.
        let words: Vec<Vec<&str>> = (0..6)
            .flat_map(|length| (0..1_u32 << length).map(move |bits| (length, bits)))
            .map(|(length, bits)| (0..length).map(|place| if bits >> place & 1 == 1 { "x" } else { "y" }).collect())
            .collect();
        for old in &words {
            for new in &words {
                let (mut from, mut to) = (Vec::new(), Vec::new());
                for edit in edits(old, new) {
                    match edit {
                        Edit::Keep(i, j) => {
                            assert_eq!(old[i], new[j]);
                            from.push(old[i]);
                            to.push(new[j]);
                        }
                        Edit::Delete(i) => from.push(old[i]),
                        Edit::Insert(j) => to.push(new[j]),
                    }
                }
                assert_eq!((&from, &to), (old, new));
            }
        }
        let (many, other): (Vec<String>, Vec<String>) = (0..3000).map(|n| (format!("a{n}"), format!("b{n}"))).unzip();
        let shown = unified(&many.join("\n"), &other.join("\n"));
        assert_eq!(shown.lines().count(), 6001);
    }
}
