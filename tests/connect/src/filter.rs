//! The `filter` parameter: one SCIM comparison, `attribute operator "value"`.
//!
//! The official documentation names `eq` only; the JavaScript SDK also sends
//! `co`, and the Go and JavaScript SDKs ask vaults by `title`. Whether the
//! real server minds upper and lower case is told in two ways: 1Password's
//! operator accepts vault names in any case (its pull request 240), the issue
//! connect#73 reports that item titles must match exactly. So it is here.

use crate::model::{Summary, Vault};

/// A comparison that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    attribute: String,
    operator: Operator,
    value: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Contains,
}

impl Filter {
    /// Reads a filter; the error says what is wrong with it. The value must
    /// be in double quotes (a single quote is a 400 since 1.5.2), with SCIM's
    /// backslash escapes (RFC 7644 takes the strings of JSON).
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("Invalid filter: {text}");
        let mut words = text.trim().splitn(3, ' ');
        let attribute = words.next().unwrap_or_default().to_ascii_lowercase();
        let operator = match words.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "eq" => Operator::Equal,
            "co" => Operator::Contains,
            _ => return Err(invalid()),
        };
        let quoted = words.next().unwrap_or_default().trim();
        let value = serde_json::from_str(quoted).map_err(|_| invalid())?;
        Ok(Self { attribute, operator, value })
    }

    /// Whether a vault matches; an unknown attribute is an error.
    pub(crate) fn vault(&self, vault: &Vault) -> Result<bool, String> {
        match self.attribute.as_str() {
            "name" | "title" => Ok(self.holds(&vault.name.to_lowercase(), &self.value.to_lowercase())),
            other => Err(format!("Invalid filter attribute: {other}")),
        }
    }

    /// Whether an item matches; an unknown attribute is an error.
    pub(crate) fn item(&self, item: &Summary) -> Result<bool, String> {
        match self.attribute.as_str() {
            "title" => Ok(self.holds(&item.title, &self.value)),
            "tag" => Ok(item.tags.iter().any(|tag| self.holds(tag, &self.value))),
            other => Err(format!("Invalid filter attribute: {other}")),
        }
    }

    fn holds(&self, actual: &str, wanted: &str) -> bool {
        match self.operator {
            Operator::Equal => actual == wanted,
            Operator::Contains => actual.contains(wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_read() {
        let filter = Filter::parse(r#"title eq "a \"quoted\" name""#).unwrap();
        assert_eq!(filter.value, r#"a "quoted" name"#);
        assert_eq!(Filter::parse(r#" Title EQ "x" "#).unwrap().attribute, "title");
        assert_eq!(Filter::parse(r#"title co "b #1 & c""#).unwrap().operator, Operator::Contains);
    }

    #[test]
    fn what_clients_break_is_refused() {
        for text in [
            "",
            "title",
            "title eq",
            "title eq x",
            "title eq 'x'",
            r#"title eq "a "#,
            r#"title eq "a"b""#,
            r#"title sw "x""#,
            r#"title eq "x" and tag eq "y""#,
        ] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
    }
}
