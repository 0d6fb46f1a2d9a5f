//! Message arguments as they are typed: JSON, or a bare word that is a text.

use crate::{
    Value,
    cli::exit::{Exit, Failure, Outcome},
};

/// For `--help`.
pub(crate) const HELP: &str = "\
Arguments of a message are JSON: 1, 2.5, true, null, '\"a text\"', '[1,2]', '{\"a\":1}'. What is not JSON is a text as it
stands: ping is \"ping\". What begins with [ { or \" must be JSON; a text that looks like JSON is put in quotes: '\"1\"'.
Bytes are {\"$bytes\":\"BASE64\"}.";

/// Likewise, of one value.
pub(crate) const VALUE_HELP: &str = "\
A value is JSON: 1, 2.5, true, null, '\"a text\"', '[1,2]', '{\"a\":1}'. What is not JSON is a text as it stands. What
begins with [ { or \" must be JSON; a text that looks like JSON is put in quotes: '\"1\"'. Bytes are
{\"$bytes\":\"BASE64\"}.";

/// The values of typed arguments.
pub(crate) fn typed(args: &[String]) -> Outcome<Vec<Value>> {
    args.iter().map(|arg| typed_one(arg)).collect()
}

/// The value of a typed argument.
pub(crate) fn typed_one(arg: &str) -> Outcome<Value> {
    match arg.parse() {
        Ok(value) => Ok(value),
        Err(error) if arg.trim_start().starts_with(['[', '{', '"']) => {
            Err(Failure::new(Exit::Usage, format!("{arg}: {error}")))
        }
        Err(_) => Ok(Value::from(arg)),
    }
}

/// A value as JSON.
pub(crate) fn json_of(value: &Value) -> serde_json::Value {
    serde_json::from_str(&value.to_string()).unwrap_or_default()
}

/// Values as JSON, as the JSON format writes them.
pub(crate) fn json(values: &[Value]) -> serde_json::Value {
    // what a value prints is JSON, but for floats that no message can carry
    serde_json::from_str(&Value::List(values.to_vec()).to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(args: &[&str]) -> Option<String> {
        let args: Vec<_> = args.iter().map(ToString::to_string).collect();
        typed(&args).ok().map(|values| json(&values).to_string())
    }

    #[test]
    fn bare_words_are_texts_and_the_rest_is_json() {
        let args = [
            "ping",
            "1",
            "\"2\"",
            "a b",
            "null",
            r#"{"a":[1]}"#,
            "",
            "NaN",
            "-",
            "10.0.0.1",
        ];
        assert_eq!(
            list(&args).as_deref(),
            Some(r#"["ping",1,"2","a b",null,{"a":[1]},"","NaN","-","10.0.0.1"]"#)
        );
        assert_eq!(list(&[]).as_deref(), Some("[]"));
        for text in ["18446744073709551615", "-9223372036854775808", "1.5", "1.0"] {
            assert_eq!(list(&[text]), Some(format!("[{text}]")));
        }
        let bytes = r#"{"$bytes":"AQI="}"#;
        assert_eq!(list(&[bytes]), Some(format!("[{bytes}]")));
        assert!(matches!(
            typed(&[bytes.into()]).as_deref(),
            Ok([Value::Bytes(_)])
        ));
    }

    #[test]
    fn broken_json_is_not_taken_for_a_text() {
        for arg in ["[1", "{a:1}", "\"open", " [", "[1]]"] {
            assert!(list(&[arg]).is_none(), "{arg}");
        }
    }
}
