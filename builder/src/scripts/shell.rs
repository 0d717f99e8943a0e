//! A shell script as simple commands: words without quotes, with the values of variables that the script itself sets.
//!
//! This is no shell: nothing runs, both branches of an `if` count, and what only a run would tell (`$1`, `$(...)`) is an
//! unknown word. The grammar is that of POSIX.1-2024, Shell Command Language, 2.2 (quoting), 2.3 (tokens), 2.7 (redirection).

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// A word of a command; `None` where only a run would tell.
pub type Word = Option<String>;

/// Most commands that one script is read as: a loop over many values is many commands.
const MOST_COMMANDS: usize = 20_000;
/// Most bytes of a variable's value: a longer one is not known.
const LONGEST: usize = 4096;
/// Most values of one variable.
const MOST_VALUES: usize = 64;
/// Words that come before a command, or stand alone.
const KEYWORDS: [&str; 13] =
    ["if", "then", "elif", "else", "fi", "do", "done", "while", "until", "!", "{", "}", "esac"];

/// A piece of a word.
#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Variable(String),
    Unknown,
}

type RawWord = Vec<Piece>;

/// The simple commands of a script, in their order.
#[must_use]
pub fn commands(text: &str) -> Vec<Vec<Word>> {
    let mut variables = Variables::default();
    let mut commands = Vec::new();
    for raw in (Lexer { chars: text.chars().peekable(), here: Vec::new() }).commands() {
        variables.run(raw, &mut commands);
        if commands.len() >= MOST_COMMANDS {
            break;
        }
    }
    commands
}

struct Lexer<'t> {
    chars: Peekable<Chars<'t>>,
    /// Ends of the here-documents that begin at the next line.
    here: Vec<String>,
}

impl Lexer<'_> {
    fn commands(mut self) -> Vec<Vec<RawWord>> {
        let mut commands = Vec::new();
        let mut command: Vec<RawWord> = Vec::new();
        while let Some(&next) = self.chars.peek() {
            match next {
                '\n' | ';' | '&' | '|' | '(' | ')' => {
                    self.chars.next();
                    commands.push(std::mem::take(&mut command));
                    if next == '\n' {
                        self.skip_here();
                    }
                }
                '#' => self.skip_line(),
                '<' | '>' => self.redirection(),
                next if next.is_whitespace() => drop(self.chars.next()),
                _ => {
                    let word = self.word();
                    // `2>/dev/null`: the number belongs to the redirection.
                    let number =
                        matches!(word.as_slice(), [Piece::Text(text)] if text.bytes().all(|b| b.is_ascii_digit()));
                    let of_redirection = number && matches!(self.chars.peek(), Some('<' | '>'));
                    if !of_redirection && !word.is_empty() {
                        command.push(word);
                    }
                }
            }
        }
        commands.push(command);
        commands
    }

    fn skip_line(&mut self) {
        while self.chars.next_if(|next| *next != '\n').is_some() {}
    }

    fn skip_blanks(&mut self) {
        while self.chars.next_if(|next| *next != '\n' && next.is_whitespace()).is_some() {}
    }

    /// A redirection and the word behind it.
    fn redirection(&mut self) {
        let first = self.chars.next();
        let mut operator = String::from_iter(first);
        while let Some(next) = self.chars.next_if(|next| matches!(next, '<' | '>' | '&' | '-' | '|')) {
            operator.push(next);
        }
        self.skip_blanks();
        if matches!(self.chars.peek(), None | Some('\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>')) {
            return;
        }
        let word = self.word();
        if operator.starts_with("<<") {
            let end = word.iter().map(|piece| match piece {
                Piece::Text(text) | Piece::Variable(text) => text.as_str(),
                Piece::Unknown => "",
            });
            self.here.push(end.collect());
        }
    }

    /// The here-documents that begin at this line.
    fn skip_here(&mut self) {
        for end in std::mem::take(&mut self.here) {
            loop {
                let mut line = String::new();
                while let Some(next) = self.chars.next_if(|next| *next != '\n') {
                    line.push(next);
                }
                if self.chars.next().is_none() || line.trim_start_matches('\t') == end {
                    break;
                }
            }
        }
    }

    fn word(&mut self) -> RawWord {
        let mut word = Vec::new();
        while let Some(&next) = self.chars.peek() {
            match next {
                '\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>' => break,
                next if next.is_whitespace() => break,
                '\'' => {
                    self.chars.next();
                    let mut text = String::new();
                    while let Some(next) = self.chars.next().filter(|next| *next != '\'') {
                        text.push(next);
                    }
                    push(&mut word, &text);
                }
                '"' => {
                    self.chars.next();
                    push(&mut word, "");
                    while let Some(&next) = self.chars.peek().filter(|next| **next != '"') {
                        self.character(&mut word, next, true);
                    }
                    self.chars.next();
                }
                next => self.character(&mut word, next, false),
            }
        }
        word
    }

    /// One character outside of single quotes, with what belongs to it.
    fn character(&mut self, word: &mut RawWord, next: char, quoted: bool) {
        self.chars.next();
        match next {
            '\\' => match self.chars.next() {
                None | Some('\n') => (),
                Some(next) if quoted && !matches!(next, '$' | '`' | '"' | '\\') => push(word, &format!("\\{next}")),
                Some(next) => push(word, next.encode_utf8(&mut [0; 4])),
            },
            '$' => word.push(self.expansion()),
            '`' => {
                while self.chars.next().is_some_and(|next| next != '`') {}
                word.push(Piece::Unknown);
            }
            next => push(word, next.encode_utf8(&mut [0; 4])),
        }
    }

    /// What stands behind a `$`.
    fn expansion(&mut self) -> Piece {
        let name = |chars: &mut Peekable<Chars<'_>>| {
            let mut name = String::new();
            while let Some(next) = chars.next_if(|next| next.is_ascii_alphanumeric() || *next == '_') {
                name.push(next);
            }
            name
        };
        match self.chars.peek() {
            Some('(') => {
                let mut depth = 0_usize;
                for next in self.chars.by_ref() {
                    match next {
                        '(' => depth += 1,
                        ')' => depth -= 1,
                        _ => (),
                    }
                    if depth == 0 {
                        break;
                    }
                }
                Piece::Unknown
            }
            Some('{') => {
                self.chars.next();
                let name = name(&mut self.chars);
                let mut depth = 1_usize;
                let mut rest = String::new();
                for next in self.chars.by_ref() {
                    match next {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        _ => (),
                    }
                    if depth == 0 {
                        break;
                    }
                    rest.push(next);
                }
                match (name.as_str(), rest.as_str()) {
                    // dpkg --root: an image's root is /.
                    ("DPKG_ROOT", _) => Piece::Text(String::new()),
                    ("", _) => Piece::Unknown,
                    (_, "") => Piece::Variable(name),
                    _ => Piece::Unknown,
                }
            }
            Some(next) if next.is_ascii_alphabetic() || *next == '_' => match name(&mut self.chars) {
                name if name == "DPKG_ROOT" => Piece::Text(String::new()),
                name => Piece::Variable(name),
            },
            Some('@' | '*' | '#' | '?' | '$' | '!' | '-' | '0'..='9') => {
                self.chars.next();
                Piece::Unknown
            }
            _ => Piece::Text("$".to_owned()),
        }
    }
}

fn push(word: &mut RawWord, text: &str) {
    match word.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => word.push(Piece::Text(text.to_owned())),
    }
}

/// Variables with their values: several where a loop sets them.
#[derive(Default)]
struct Variables(BTreeMap<String, Vec<String>>);

impl Variables {
    /// Takes assignments and loops into account, and appends the command with its variables replaced.
    fn run(&mut self, mut raw: Vec<RawWord>, commands: &mut Vec<Vec<Word>>) {
        while raw.first().is_some_and(|word| plain(word).is_some_and(|text| KEYWORDS.contains(&text))) {
            raw.remove(0);
        }
        if let [first, name, within, values @ ..] = raw.as_slice()
            && (plain(first), plain(within)) == (Some("for"), Some("in"))
            && let Some(name) = plain(name)
        {
            let values = values.iter().flat_map(|word| self.words(word)).collect::<Option<Vec<String>>>();
            self.set(name, values.unwrap_or_default());
            return;
        }
        while let Some((name, value)) = raw.first().and_then(assignment) {
            let values: Option<Vec<String>> = self.values(&value).into_iter().collect();
            self.set(&name, values.unwrap_or_default());
            raw.remove(0);
        }
        if raw.is_empty() {
            return;
        }
        // A command with a loop's variable is one command for each value.
        let looped = raw.iter().flatten().find_map(|piece| match piece {
            Piece::Variable(name) if self.0.get(name).is_some_and(|values| values.len() > 1) => Some(name.clone()),
            _ => None,
        });
        match looped.and_then(|name| Some((self.0.get(&name)?.clone(), name))) {
            Some((values, name)) => {
                for value in &values {
                    self.set(&name, vec![value.clone()]);
                    commands.push(raw.iter().flat_map(|word| self.words(word)).collect());
                }
                self.set(&name, values);
            }
            None => commands.push(raw.iter().flat_map(|word| self.words(word)).collect()),
        }
    }

    fn set(&mut self, name: &str, mut values: Vec<String>) {
        values.truncate(MOST_VALUES);
        if values.iter().any(|value| value.len() > LONGEST) {
            values.clear();
        }
        match values.is_empty() {
            true => drop(self.0.remove(name)),
            false => drop(self.0.insert(name.to_owned(), values)),
        }
    }

    /// A word as the command gets it. A variable that is the whole word without quotes is split at blanks.
    fn words(&self, word: &[Piece]) -> Vec<Word> {
        if let [Piece::Variable(name)] = word {
            return match self.0.get(name) {
                Some(values) => {
                    values.iter().flat_map(|value| value.split_whitespace()).map(|one| Some(one.to_owned())).collect()
                }
                None => vec![None],
            };
        }
        self.values(word).into_iter().take(1).collect()
    }

    /// Every value of a word; one that is `None` where it is not known.
    fn values(&self, word: &[Piece]) -> Vec<Word> {
        let mut texts = vec![String::new()];
        for piece in word {
            match piece {
                Piece::Text(text) => texts.iter_mut().for_each(|one| one.push_str(text)),
                Piece::Unknown => return vec![None],
                Piece::Variable(name) => {
                    let Some(values) = self.0.get(name) else { return vec![None] };
                    let with =
                        |text: &String| values.iter().map(|value| format!("{text}{value}")).collect::<Vec<_>>();
                    texts = texts.iter().flat_map(with).take(MOST_VALUES).collect();
                }
            }
        }
        texts.into_iter().map(Some).collect()
    }
}

/// The text of a word without quotes and variables.
fn plain(word: &RawWord) -> Option<&str> {
    match word.as_slice() {
        [Piece::Text(text)] => Some(text),
        _ => None,
    }
}

/// `NAME=value`: the name, and the pieces of the value.
fn assignment(word: &RawWord) -> Option<(String, RawWord)> {
    let Some(Piece::Text(first)) = word.first() else { return None };
    let (name, value) = first.split_once('=')?;
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    if !name.bytes().next().is_some_and(letter) || !name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit()) {
        return None;
    }
    let rest = word.iter().skip(1).cloned();
    Some((name.to_owned(), std::iter::once(Piece::Text(value.to_owned())).chain(rest).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Commands as lines; `?` is an unknown word.
    fn read(text: &str) -> Vec<String> {
        let word = |word: &Word| word.clone().unwrap_or_else(|| "?".to_owned());
        commands(text).iter().map(|command| command.iter().map(word).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn words_are_read_as_a_shell_reads_them() {
        for (text, expected) in [
            ("a  'b c' \"d \\$e\" f\\ g # not this", vec!["a b c d $e f g"]),
            ("a \\\n  b; c && d || e | f &\n(g)", vec!["a b", "c", "d", "e", "f", "g"]),
            ("if [ -x /x ]; then a; else b; fi", vec!["[ -x /x ]", "a", "b"]),
            ("if ! command -v x >/dev/null 2>&1 <y; then a 2; fi", vec!["command -v x", "a 2"]),
            ("cat <<-END >x\nadduser not\n\tEND\nb", vec!["cat", "b"]),
            ("a \"$1\" ${2:-x} $(b \"(c)\" d) `e` $#", vec!["a ? ? ? ? ?"]),
            (
                "D=/var/lib/x\nmkdir \"$D/y\" ${D} $D.z \"$DPKG_ROOT/a\"",
                vec!["mkdir /var/lib/x/y /var/lib/x /var/lib/x.z /a"],
            ),
            ("for d in a b; do x $d/1; done", vec!["x a/1", "x b/1"]),
            ("L=\"a b\"\nfor d in $L; do x \"$d\"; done", vec!["x a", "x b"]),
            ("x=`y`\nz $x", vec!["z ?"]),
            ("systemd-sysusers ${DPKG_ROOT:+--root=\"$DPKG_ROOT\"} a.conf", vec!["systemd-sysusers  a.conf"]),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn a_value_that_doubles_itself_does_not_grow_for_ever() {
        let text = format!("a=x\n{}b $a", "a=$a$a$a$a\n".repeat(200));
        assert_eq!(read(&text), ["b ?"]);
        let nested = format!(
            "{}x $a1 $a2",
            (1..9).map(|n| format!("for a{n} in {}; do\n", "v ".repeat(60))).collect::<String>()
        );
        assert!(read(&nested).len() <= MOST_COMMANDS);
    }

    proptest! {
        #[test]
        fn no_script_makes_it_panic(text in "([a-z$\"'`(){}<>|&;#=\\\\ \n/0-9-]|for d in a b; do |<<E\n|\\$\\{a|x=){0,120}") {
            let _ = commands(&text);
        }
    }
}
