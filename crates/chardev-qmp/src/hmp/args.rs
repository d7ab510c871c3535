//! The arguments of a human monitor command: words, quoted text, and expressions.

/// Where in a line the parser is.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Cursor { rest: line }
    }

    /// Skips blanks and returns what is left.
    pub(super) fn rest(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    /// The name of a command: it ends at a blank or at the `/` of an old format specifier.
    pub(super) fn name(&mut self) -> &'a str {
        let rest = self.rest();
        let is_end = |c: char| c.is_whitespace() || c == '/';
        let (name, rest) = rest.split_at(rest.find(is_end).unwrap_or(rest.len()));
        self.rest = rest;
        name
    }

    /// A word, or text in double quotes.
    ///
    /// # Errors
    /// What to print before saying that a string was expected; nothing if there is no word.
    pub(super) fn word(&mut self) -> Result<String, String> {
        let rest = self.rest();
        if rest.is_empty() {
            return Err(String::new());
        }
        let Some(quoted) = rest.strip_prefix('"') else {
            let (word, rest) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
            self.rest = rest;
            return Ok(word.to_owned());
        };
        let mut text = String::new();
        let mut chars = quoted.chars();
        loop {
            match chars.next() {
                None => return Err("unterminated string\n".to_owned()),
                Some('"') => break,
                Some('\\') => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('r') => text.push('\r'),
                    Some(c @ ('\\' | '\'' | '"')) => text.push(c),
                    Some(c) => return Err(format!("unsupported escape code: '\\{c}'\n")),
                    None => return Err("unterminated string\n".to_owned()),
                },
                Some(c) => text.push(c),
            }
        }
        self.rest = chars.as_str();
        Ok(text)
    }

    /// An expression of 64 bits: sums of `& | ^` of products of numbers, as QEMU's precedence has
    /// it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn expression(&mut self) -> Result<i64, String> {
        self.sum(0)
    }

    fn sum(&mut self, depth: u32) -> Result<i64, String> {
        // Each level of brackets costs stack.
        if depth > 64 {
            return Err("expression nested too deeply".to_owned());
        }
        let mut value = self.logic(depth)?;
        loop {
            match self.operator(&['+', '-']) {
                Some('+') => value = value.wrapping_add(self.logic(depth)?),
                Some(_) => value = value.wrapping_sub(self.logic(depth)?),
                None => return Ok(value),
            }
        }
    }

    fn logic(&mut self, depth: u32) -> Result<i64, String> {
        let mut value = self.product(depth)?;
        loop {
            match self.operator(&['&', '|', '^']) {
                Some('&') => value &= self.product(depth)?,
                Some('|') => value |= self.product(depth)?,
                Some(_) => value ^= self.product(depth)?,
                None => return Ok(value),
            }
        }
    }

    fn product(&mut self, depth: u32) -> Result<i64, String> {
        let mut value = self.unary(depth)?;
        loop {
            let Some(operator) = self.operator(&['*', '/', '%']) else {
                return Ok(value);
            };
            let other = self.unary(depth)?;
            value = match operator {
                '*' => value.wrapping_mul(other),
                _ if other == 0 => return Err("division by zero".to_owned()),
                '/' => value.wrapping_div(other),
                _ => value.wrapping_rem(other),
            };
        }
    }

    fn unary(&mut self, depth: u32) -> Result<i64, String> {
        let mut signs = Vec::new();
        while let Some(sign) = self.operator(&['+', '-', '~']) {
            signs.push(sign);
        }
        let value = match self.operator(&['(', '\'', '$']) {
            Some('(') => {
                let value = self.sum(depth + 1)?;
                self.operator(&[')']).ok_or("')' expected")?;
                value
            }
            Some('\'') => self.character()?,
            Some(_) => return Err("unknown register".to_owned()),
            None => self.number()?,
        };
        Ok(signs.iter().rev().fold(value, |value, sign| match sign {
            '-' => value.wrapping_neg(),
            '~' => !value,
            _ => value,
        }))
    }

    fn character(&mut self) -> Result<i64, String> {
        let mut chars = self.rest.chars();
        let (Some(c), Some('\'')) = (chars.next(), chars.next()) else {
            return Err("missing terminating ' character".to_owned());
        };
        self.rest = chars.as_str();
        Ok(i64::from(u32::from(c)))
    }

    fn number(&mut self) -> Result<i64, String> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Err("unexpected end of expression".to_owned());
        };
        let (digits, radix) = match rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            Some(digits) if digits.starts_with(|c: char| c.is_ascii_hexdigit()) => (digits, 16),
            _ if first == '0' => (rest, 8),
            _ => (rest, 10),
        };
        let count = digits.chars().take_while(|c| c.is_digit(radix)).count();
        if count == 0 {
            return Err(format!("invalid char '{first}' in expression"));
        }
        let value = u64::from_str_radix(&digits[..count], radix);
        self.rest = &digits[count..];
        match value {
            Ok(value) => Ok(value as i64),
            Err(_) => Err("number too large".to_owned()),
        }
    }

    /// Takes the next character if it is one of `wanted`.
    fn operator(&mut self, wanted: &[char]) -> Option<char> {
        let rest = self.rest();
        let c = rest.chars().next().filter(|c| wanted.contains(c))?;
        self.rest = &rest[c.len_utf8()..];
        Some(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_quoted_text() {
        let mut cursor = Cursor::new(r#"  a/b "c \"d\\\n'" e"#);
        assert_eq!(cursor.name(), "a");
        assert_eq!(cursor.rest(), r#"/b "c \"d\\\n'" e"#);
        assert_eq!(cursor.word().as_deref(), Ok("/b"));
        assert_eq!(cursor.word().as_deref(), Ok("c \"d\\\n'"));
        assert_eq!(cursor.word().as_deref(), Ok("e"));
        assert_eq!(cursor.word(), Err(String::new()));
        for (line, error) in [
            (r#""open"#, "unterminated string\n"),
            (r#""open\"#, "unterminated string\n"),
            (r#""a\t""#, "unsupported escape code: '\\t'\n"),
        ] {
            assert_eq!(Cursor::new(line).word(), Err(error.to_owned()), "{line}");
        }
    }

    #[test]
    fn expressions() {
        for (text, value) in [
            ("2+3*4", Ok(14)),
            ("(2+3)*4", Ok(20)),
            ("0x10 - 010", Ok(8)),
            ("-1", Ok(-1)),
            ("~0 & 6", Ok(6)),
            ("7|8", Ok(15)),
            ("9%4", Ok(1)),
            ("'a'", Ok(97)),
            ("-9223372036854775808/-1", Ok(i64::MIN)),
            ("4/0", Err("division by zero")),
            ("", Err("unexpected end of expression")),
            ("abc", Err("invalid char 'a' in expression")),
            ("(1", Err("')' expected")),
            ("$pc", Err("unknown register")),
            ("'ab'", Err("missing terminating ' character")),
        ] {
            let expected = value.map_err(str::to_owned);
            assert_eq!(Cursor::new(text).expression(), expected, "{text}");
        }
        let deep = "(".repeat(100_000);
        assert!(Cursor::new(&deep).expression().is_err());
    }
}
