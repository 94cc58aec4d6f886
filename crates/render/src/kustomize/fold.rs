//! What becomes of folded texts (`>`) when they are written and read once more.
//!
//! The original does that with every object before it prints it, and its writer adds a line break before lines that
//! begin with a blank.

/// The text after it was written in folded style and read again.
pub(super) fn refolded(text: &str) -> String {
    if !is_block(text) {
        return text.to_owned();
    }
    read(&written(text), text)
}

/// Other texts are written in quotes, which changes nothing.
fn is_block(text: &str) -> bool {
    let printable = |c: char| matches!(c, '\t' | '\n' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..);
    !text.is_empty() && !text.ends_with(' ') && !text.contains(" \n") && text.chars().all(printable)
}

/// The lines as they are written; where lines are to stay apart, one more break stands between them.
fn written(text: &str) -> String {
    let starts_blank = text.trim_start_matches('\n').starts_with([' ', '\t']);
    let mut result = String::with_capacity(text.len() + 16);
    let (mut after_break, mut in_blank_line) = (true, true);
    for character in text.chars() {
        if character == '\n' {
            // The original looks at the beginning of the text where it should look at the next line.
            if !after_break && !in_blank_line && !starts_blank {
                result.push('\n');
            }
            result.push('\n');
            after_break = true;
        } else {
            if after_break {
                in_blank_line = matches!(character, ' ' | '\t');
            }
            result.push(character);
            after_break = false;
        }
    }
    result
}

/// Folds lines as a reader does. `original` decides what happens at the end.
fn read(lines: &str, original: &str) -> String {
    let mut result = String::with_capacity(lines.len());
    let (mut leading_break, mut breaks, mut after_blank) = (false, 0_usize, false);
    for line in lines.split('\n') {
        if line.is_empty() {
            breaks += 1;
            continue;
        }
        let is_blank = line.starts_with([' ', '\t']);
        match (leading_break, after_blank || is_blank) {
            (true, false) if breaks == 0 => result.push(' '),
            (true, true) => result.push('\n'),
            _ => {}
        }
        result.extend(std::iter::repeat_n('\n', breaks));
        result.push_str(line);
        (leading_break, breaks, after_blank) = (true, 0, is_blank);
    }
    let breaks = |text: &str| text.len() - text.trim_end_matches('\n').len();
    let end = match breaks(original) {
        kept if kept < 2 => kept,
        _ => breaks(lines),
    };
    result.extend(std::iter::repeat_n('\n', end));
    result
}

#[cfg(test)]
mod tests {
    use super::refolded;

    #[test]
    fn lines_before_blanks_drift_apart() {
        let cases = [
            ("a\n", "a\n"),
            ("a\nb\n", "a\nb\n"),
            ("a\n\nb", "a\n\nb"),
            ("a\n  b\nc\n", "a\n\n  b\nc\n"),
            ("  a\nb\n", "  a\nb\n"),
            ("a\n\n\n", "a\n\n\n\n"),
            ("a \n  b\n", "a \n  b\n"),
        ];
        for (text, expected) in cases {
            assert_eq!(refolded(text), expected, "{text:?}");
        }
    }
}
