//! Figures as people read them.

use super::measure::Run;

/// The runs of one thing, in the order in which they were made.
#[derive(Default)]
pub struct Series(Vec<Run>);

/// The head of the rows that [`Series::row`] prints.
pub fn head() {
    println!("{:<30} {:>24} {:>10} {:>10}", "", "wall", "cpu", "peak");
}

impl Series {
    pub fn push(&mut self, run: Run) {
        self.0.push(run);
    }

    /// One row of the table; none when there were no runs.
    pub fn row(&self, name: &str) {
        if self.0.is_empty() {
            return;
        }
        let (wall, cpu, peak) =
            (self.sorted(|run| run.wall), self.sorted(|run| run.cpu), self.sorted(|run| run.peak));
        let range = format!("{:.2} s ({:.2} .. {:.2})", median(&wall), wall[0], wall[wall.len() - 1]);
        let (cpu, peak) = (format!("{:.2} s", median(&cpu)), format!("{:.0} MB", median(&peak) / 1e6));
        println!("{name:<30} {range:>24} {cpu:>10} {peak:>10}");
    }

    /// How many times faster this is than `other`, pair by pair.
    pub fn ratio(&self, name: &str, other: &Series) {
        let of = |part: fn(&Run) -> f64| {
            let mut ratios: Vec<f64> = self.0.iter().zip(&other.0).map(|(one, two)| part(one) / part(two)).collect();
            ratios.sort_by(f64::total_cmp);
            ratios
        };
        let (wall, cpu) = (of(|run| run.wall), of(|run| run.cpu));
        if wall.is_empty() {
            return;
        }
        let all = wall.iter().map(|ratio| shown(*ratio)).collect::<Vec<_>>().join(", ");
        println!("{name}: wall {} (pairs: {all}), cpu {}", shown(median(&wall)), shown(median(&cpu)));
    }

    fn sorted(&self, part: fn(&Run) -> f64) -> Vec<f64> {
        let mut values: Vec<f64> = self.0.iter().map(part).collect();
        values.sort_by(f64::total_cmp);
        values
    }
}

/// `1/8.3` for what is faster, `1.4` for what is slower.
fn shown(ratio: f64) -> String {
    if ratio < 1.0 { format!("1/{:.1}", 1.0 / ratio) } else { format!("{ratio:.2}") }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}
