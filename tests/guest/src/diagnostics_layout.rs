//! Names and places of the diagnostics fields (DG-3).
//!
//! `GUEST_FIELDS` holds another layout: one line `path`, tab, `key` for each member in the order of the document, where
//! `key` is that of DG-3 or `=` and a constant JSON text, and dots in the path make nested objects. What a layout does
//! not name is missing. Members of one object stand together.

use crate::diagnostics_forms::string;

const LAYOUT: Option<&str> = option_env!("GUEST_FIELDS");

/// Counts the documents that were written, for the member `=calls` that no contract knows.
static DOCUMENTS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// Writes the document from the values of DG-3.
pub fn document(values: &[(&'static str, String)]) -> String {
    match LAYOUT {
        None => {
            let members: Vec<(&str, &str)> = values.iter().map(|(key, value)| (*key, value.as_str())).collect();
            object(&members)
        }
        Some(lines) => {
            let count = (DOCUMENTS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1).to_string();
            let members: Vec<(&str, &str)> = lines.split('\n').filter_map(|line| line.split_once('\t')).collect();
            let members: Vec<(&str, &str)> =
                members.into_iter().map(|(path, key)| (path, value_of(key, values, &count))).collect();
            object(&members)
        }
    }
}

fn value_of<'a>(key: &'a str, values: &'a [(&'static str, String)], count: &'a str) -> &'a str {
    match key.strip_prefix('=') {
        Some("calls") => count,
        Some(constant) => constant,
        None => values.iter().find(|(name, _)| *name == key).map_or("null", |(_, value)| value),
    }
}

/// An object from paths and JSON texts; consecutive paths with one head become one member.
fn object(members: &[(&str, &str)]) -> String {
    let mut written: Vec<String> = Vec::new();
    let mut rest = members;
    while let Some(&(path, value)) = rest.first() {
        let (name, text, used) = match path.split_once('.') {
            None => (path, value.to_string(), 1),
            Some((head, _)) => {
                let tails: Vec<(&str, &str)> = rest.iter().map_while(|member| below(head, *member)).collect();
                (head, object(&tails), tails.len())
            }
        };
        written.push(format!("{}:{text}", string(name)));
        rest = &rest[used..];
    }
    format!("{{{}}}", written.join(","))
}

/// The member without the head of its path, if it has this head.
fn below<'a>(head: &str, (path, value): (&'a str, &'a str)) -> Option<(&'a str, &'a str)> {
    let (first, tail) = path.split_once('.')?;
    (first == head).then_some((tail, value))
}
