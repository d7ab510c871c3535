//! front → chardev → [back] → host: who may come, by the name in their certificate.

use std::error::Error;
use std::sync::{Mutex, PoisonError};

/// What happens to one whom a rule is about.
#[doc(alias = "QAuthZListPolicy")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthzPolicy {
    /// They may not come.
    #[default]
    Deny,
    /// They may.
    Allow,
}

/// What a rule's text is.
#[doc(alias = "QAuthZListFormat")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthzFormat {
    /// The whole name.
    #[default]
    Exact,
    /// The name with `*` for anything and `?` for any character.
    Glob,
}

/// A rule about some names.
#[doc(alias = "QAuthZListRule")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthzRule {
    /// Which names.
    pub matches: String,
    /// What happens to them.
    pub policy: AuthzPolicy,
    /// What `matches` is.
    pub format: AuthzFormat,
}

/// Rules, of which the first that is about a name counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthzList {
    /// In their order.
    pub rules: Vec<AuthzRule>,
    /// What happens to those whom no rule is about.
    pub policy: AuthzPolicy,
}

/// Reads the content of a file with a list.
///
/// # Errors
/// What is wrong with it.
pub type ReadList = fn(&str) -> Result<AuthzList, Box<dyn Error + Send + Sync>>;

impl AuthzList {
    fn allows(&self, identity: &str) -> bool {
        let about = |rule: &&AuthzRule| match rule.format {
            AuthzFormat::Exact => rule.matches == identity,
            AuthzFormat::Glob => glob(&rule.matches, identity),
        };
        let rule = self.rules.iter().find(about);
        rule.map_or(self.policy, |rule| rule.policy) == AuthzPolicy::Allow
    }
}

/// Who may come.
#[derive(Debug)]
pub(crate) struct Authz {
    list: Mutex<AuthzList>,
    /// Reads the list again when it changes; ends with this.
    pub(super) refresher: Option<super::refresh::Refresher>,
}

impl Authz {
    pub(super) fn list(list: AuthzList) -> Self {
        Authz {
            list: Mutex::new(list),
            refresher: None,
        }
    }

    pub(super) fn one(identity: String) -> Self {
        Authz::list(AuthzList {
            rules: vec![AuthzRule {
                matches: identity,
                policy: AuthzPolicy::Allow,
                format: AuthzFormat::Exact,
            }],
            policy: AuthzPolicy::Deny,
        })
    }

    /// Whether the one whose certificate names `identity` may come.
    pub(crate) fn allows(&self, identity: &str) -> bool {
        let refreshed = self.refresher.as_ref().map(|refresher| refresher.list());
        match refreshed {
            Some(list) => list.allows(identity),
            None => {
                let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
                list.allows(identity)
            }
        }
    }
}

/// Whether `pattern` is about all of `text`. Takes no longer than the product of both lengths.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Behind the last star, and where in the text what follows it was tried.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((after, tried)) = star else {
                    return false;
                };
                star = Some((after, tried + 1));
                (p, t) = (after, tried + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_is_about_the_whole_name() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("CN=*,O=x", "CN=a,b,O=x", true),
            ("CN=*,O=x", "CN=a,O=xy", false),
            ("C?=é", "CN=é", true),
            ("C?", "C", false),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            ("", "", true),
            ("[a]", "a", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_rule_counts_and_then_the_policy() {
        let rule = |matches: &str, policy, format| AuthzRule {
            matches: matches.to_owned(),
            policy,
            format,
        };
        let list = AuthzList {
            rules: vec![
                rule("CN=bad", AuthzPolicy::Deny, AuthzFormat::Exact),
                rule("CN=*", AuthzPolicy::Allow, AuthzFormat::Glob),
                rule("*", AuthzPolicy::Deny, AuthzFormat::Exact),
            ],
            policy: AuthzPolicy::Deny,
        };
        let authz = Authz::list(list.clone());
        let allowed = ["CN=bad", "CN=good", "O=x", "*"].map(|name| authz.allows(name));
        assert_eq!(allowed, [false, true, false, false]);
        let open = AuthzList {
            policy: AuthzPolicy::Allow,
            ..list
        };
        assert!(Authz::list(open).allows("O=x"));
        assert!(Authz::one("CN=a".to_owned()).allows("CN=a"));
        assert!(!Authz::one("CN=a".to_owned()).allows("CN=b"));
    }
}
