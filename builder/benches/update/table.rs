//! A table in Markdown.

/// Rows of figures, one column a pair of images.
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: impl Iterator<Item = String>) -> Table {
        Table { head: std::iter::once(String::new()).chain(columns).collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, name: &str, bytes: &[u64]) {
        self.rows.push(std::iter::once(name.to_owned()).chain(bytes.iter().map(|bytes| grouped(*bytes))).collect());
    }

    pub fn ratio(&mut self, name: &str, ours: &[u64], others: &[u64]) {
        let ratio = |(ours, others): (&u64, &u64)| format!("{:.3}", *ours as f64 / *others as f64);
        self.rows.push(std::iter::once(name.to_owned()).chain(ours.iter().zip(others).map(ratio)).collect());
    }

    pub fn print(&self) {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| lines().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        for (number, line) in lines().enumerate() {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
                0 => format!(" {cell:<width$} "),
                _ => format!(" {cell:>width$} "),
            });
            println!("|{}|", cells.collect::<Vec<_>>().join("|"));
            if number == 0 {
                let rule = |(column, width): (usize, &usize)| match column {
                    0 => "-".repeat(width + 2),
                    _ => "-".repeat(width + 1) + ":",
                };
                println!("|{}|", widths.iter().enumerate().map(rule).collect::<Vec<_>>().join("|"));
            }
        }
    }
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}
