//! The grammar of `synchronous_standby_names`.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    First,
    Any,
}

/// `FIRST n (...)` or `ANY n (...)`; a bare list means the first one of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub method: Method,
    pub count: usize,
    /// Application names, as written; `*` is any.
    pub names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// In double quotes a word is never a keyword.
    Quoted(String),
    Word(String),
    Number(String),
    Mark(char),
}

/// `None` for an empty value. The error is why Postgres would refuse to load it.
pub fn parse(text: &str) -> Result<Option<Rule>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let tokens = split(text)?;
    let syntax = || format!("synchronous_standby_names has a syntax error: {text}");
    let (method, rest) = match tokens.as_slice() {
        [Token::Word(word), rest @ ..] if word.eq_ignore_ascii_case("any") => (Method::Any, rest),
        [Token::Word(word), rest @ ..] if word.eq_ignore_ascii_case("first") => (Method::First, rest),
        all => (Method::First, all),
    };
    let bare = rest.len() == tokens.len();
    let (count, list) = match rest {
        [Token::Number(n), Token::Mark('('), list @ .., Token::Mark(')')] => (n.parse().map_err(|_| syntax())?, list),
        list if bare => (1, list),
        _ => return Err(syntax()),
    };
    if count == 0 {
        return Err("number of synchronous standbys (0) must be greater than zero".into());
    }
    let names = list.split(|token| *token == Token::Mark(',')).map(|name| match name {
        [Token::Quoted(n) | Token::Number(n)] => Ok(n.clone()),
        [Token::Word(n)] if !["any", "first"].contains(&n.to_ascii_lowercase().as_str()) => Ok(n.clone()),
        [Token::Mark('*')] => Ok("*".to_string()),
        _ => Err(syntax()),
    });
    Ok(Some(Rule { method, count, names: names.collect::<Result<_, _>>()? }))
}

fn split(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken = |more: fn(char) -> bool| rest.find(|c| !more(c)).unwrap_or(rest.len());
        let in_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let length = match first {
            '"' => {
                let (name, length) = quoted(rest).ok_or("unterminated quoted identifier")?;
                tokens.push(Token::Quoted(name));
                length
            }
            c if c.is_ascii_digit() => {
                let length = taken(|c| c.is_ascii_digit());
                tokens.push(Token::Number(rest[..length].to_string()));
                length
            }
            c if c.is_alphabetic() || c == '_' => {
                let length = taken(in_word);
                tokens.push(Token::Word(rest[..length].to_string()));
                length
            }
            c @ (',' | '(' | ')' | '*') => {
                tokens.push(Token::Mark(c));
                1
            }
            c => return Err(format!("syntax error at or near \"{c}\"")),
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// A name in quotes, where two quotes mean one, and how much text it takes.
fn quoted(text: &str) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if chars.next_if(|(_, next)| *next == '"').is_some() => name.push('"'),
            '"' => return Some((name, at + 1)),
            c => name.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgres_accepts() {
        let table: [(&str, Method, usize, &[&str]); 7] = [
            ("a", Method::First, 1, &["a"]),
            ("a, b", Method::First, 1, &["a", "b"]),
            ("2 (a, B)", Method::First, 2, &["a", "B"]),
            ("First 1 (a,\"any\")", Method::First, 1, &["a", "any"]),
            ("ANY 2(a, *, 7)", Method::Any, 2, &["a", "*", "7"]),
            ("\"a \"\"b\"\"\"", Method::First, 1, &["a \"b\""]),
            ("*", Method::First, 1, &["*"]),
        ];
        for (text, method, count, names) in table {
            let names = names.iter().map(|n| n.to_string()).collect();
            assert_eq!(parse(text), Ok(Some(Rule { method, count, names })), "{text}");
        }
        assert_eq!(parse(""), Ok(None));
    }

    #[test]
    fn what_postgres_refuses() {
        for text in ["ANY (a)", "ANY a", "ANY 0 (a)", "a b", "a,", "(a)", "2 (a", "a-b", "\"a", "any", "1 ()", " "] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
