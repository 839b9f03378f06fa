//! How single values of the diagnostics document are written (DG-6, DG-7).
//!
//! `cfg(form = "...")` chooses other forms of the same value. Names inside of values come from `GUEST_INNER_NAMES`:
//! min, max, mean, id, logit, code and message, one a line.

use std::fmt::Write;

use crate::diagnostics::Step;
use crate::status::Status;

const INNER_NAMES: &str = match option_env!("GUEST_INNER_NAMES") {
    Some(names) => names,
    None => "min\nmax\nmean\nid\nlogit\ncode\nmessage",
};

pub fn null() -> String {
    "null".to_string()
}

/// What stands for `selected_token` before the first step.
pub fn no_token() -> String {
    if cfg!(form = "no_token_is_minus_one") {
        return "-1".to_string();
    }
    null()
}

/// What stands for `top_tokens` before the first step.
pub fn no_top_tokens() -> String {
    if cfg!(form = "no_top_tokens_is_null") {
        return null();
    }
    pairs(&[])
}

pub fn truth(value: bool) -> String {
    if cfg!(form = "truth_is_a_number") {
        return (value as u32).to_string();
    }
    value.to_string()
}

pub fn label(text: &str) -> String {
    if cfg!(form = "label_in_upper_case") {
        return string(&text.to_uppercase());
    }
    string(text)
}

pub fn error(error: Option<Status>) -> String {
    match error {
        None if cfg!(form = "no_error_is_empty") => string(""),
        None => null(),
        Some(status) if cfg!(form = "error_is_an_object") => {
            let message = string(status.message());
            object(&[(inner_name(5), (status as u32).to_string()), (inner_name(6), message)])
        }
        Some(status) => string(status.message()),
    }
}

pub fn ids(prompt: &[u32]) -> String {
    let ids: Vec<String> = prompt.iter().map(u32::to_string).collect();
    if cfg!(form = "ids_are_an_array") {
        format!("[{}]", ids.join(","))
    } else if cfg!(form = "ids_joined_by_spaces") {
        string(&ids.join(" "))
    } else {
        string(&ids.join(","))
    }
}

pub fn seed(seed: u64) -> String {
    if cfg!(form = "seed_is_a_number") {
        return seed.to_string();
    }
    string(&seed.to_string())
}

pub fn summary(step: &Step) -> String {
    let minimum = step.minimum.map_or_else(null, number);
    let maximum = step.maximum.map_or_else(null, number);
    let mean = number(step.mean);
    if cfg!(form = "summary_is_an_array") {
        return format!("[{minimum},{maximum},{mean}]");
    }
    object(&[(inner_name(0), minimum), (inner_name(1), maximum), (inner_name(2), mean)])
}

pub fn top_tokens(step: &Step) -> String {
    pairs(&step.top)
}

fn pairs(pairs: &[(u32, f32)]) -> String {
    let ids = pairs.iter().map(|(id, _)| id.to_string());
    let logits = pairs.iter().map(|&(_, logit)| number(logit));
    if cfg!(form = "top_tokens_without_logits") {
        return array(ids);
    }
    if cfg!(form = "top_tokens_in_two_arrays") {
        return object(&[(inner_name(3), array(ids)), (inner_name(4), array(logits))]);
    }
    array(ids.zip(logits).map(|(id, logit)| {
        if cfg!(form = "top_tokens_are_objects") {
            object(&[(inner_name(3), id), (inner_name(4), logit)])
        } else {
            format!("[{id},{logit}]")
        }
    }))
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<String>>().join(","))
}

fn inner_name(index: usize) -> &'static str {
    INNER_NAMES.split('\n').nth(index).unwrap_or("")
}

pub fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(key, value)| format!("{}:{value}", string(key))).collect();
    format!("{{{}}}", members.join(","))
}

/// The shortest decimal that reads back to the same f32; null if not finite (DG-7).
pub fn number(value: f32) -> String {
    if !value.is_finite() {
        null()
    } else if cfg!(form = "numbers_through_f64") {
        format!("{:?}", value as f64)
    } else {
        format!("{value:?}")
    }
}

/// A quoted JSON string with the escapes of DG-1.
pub fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{2028}' | '\u{2029}' => write_escape(&mut quoted, character),
            _ if character.is_control() => write_escape(&mut quoted, character),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

fn write_escape(quoted: &mut String, character: char) {
    // Writing to a String cannot fail.
    let _ = write!(quoted, "\\u{:04x}", character as u32);
}
