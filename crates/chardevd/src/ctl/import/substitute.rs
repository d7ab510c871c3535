//! conserver's substitutions: `c=t[n]f`, a character for a number or a text.

/// What the letters stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    pub(super) name: &'a str,
    pub(super) host: &'a str,
    /// As it is written.
    pub(super) port: i64,
    /// As it was calculated.
    pub(super) final_port: i64,
}

/// `text` with all of `rules` carried out.
///
/// # Errors
/// The rule that is none we know.
pub(super) fn substitute(text: &str, rules: &str, values: &Values<'_>) -> Result<String, String> {
    let mut known = Vec::new();
    for rule in rules
        .split(',')
        .map(str::trim)
        .filter(|rule| !rule.is_empty())
    {
        let parsed = parse(rule, values).ok_or_else(|| format!("the substitution '{rule}'"))?;
        known.push(parsed);
    }
    let mut done = String::new();
    for c in text.chars() {
        match known.iter().find(|(from, _)| *from == c) {
            Some((_, to)) => done.push_str(to),
            None => done.push(c),
        }
    }
    Ok(done)
}

fn parse(rule: &str, values: &Values<'_>) -> Option<(char, String)> {
    let mut letters = rule.chars();
    let from = letters.next()?;
    let equals = letters.next()?;
    let what = letters.next()?;
    let format = letters.next_back()?;
    let digits: String = letters.collect();
    let width = match digits.is_empty() {
        true => 0,
        false => digits.parse::<usize>().ok().filter(|width| *width < 256)?,
    };
    if equals != '=' {
        return None;
    }
    let number = match (what, format) {
        ('p', _) => values.port,
        ('P', _) => values.final_port,
        ('c', 's') => return Some((from, format!("{:>width$}", values.name))),
        ('h', 's') => return Some((from, format!("{:>width$}", values.host))),
        _ => return None,
    };
    let to = match format {
        'd' => format!("{number:0width$}"),
        'x' => format!("{number:0width$x}"),
        'X' => format!("{number:0width$X}"),
        _ => return None,
    };
    Some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_stands_for_a_number_or_a_name() {
        let values = Values {
            name: "con",
            host: "ts",
            port: 10,
            final_port: 31,
        };
        for (text, rules, done) in [
            ("/dev/ttyC.", ".=Pd", Ok("/dev/ttyC31".to_owned())),
            ("/dev/tty.", ".=P3x", Ok("/dev/tty01f".to_owned())),
            ("a@b%", "@=cs,%=hs", Ok("aconbts".to_owned())),
            ("#", "#=pX", Ok("A".to_owned())),
            ("x", ".=Pa", Err("the substitution '.=Pa'".to_owned())),
        ] {
            assert_eq!(substitute(text, rules, &values), done, "{text} {rules}");
        }
    }
}
