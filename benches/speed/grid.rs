//! A table of measurements. Its cells are measured in turn, window by window, so that whatever else the machine does hits all alike.

use std::time::Duration;

use crate::measure::{Sample, median};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Windows per cell; the median counts.
    pub(crate) windows: usize,
    /// CPU time of a window where only CPU counts.
    pub(crate) work: Duration,
    /// Wall time of a window where latency counts, and how long it is warmed up before.
    pub(crate) length: Duration,
    pub(crate) warm_up: Duration,
    /// Only the smallest sizes.
    pub(crate) small: bool,
}

impl Effort {
    pub(crate) const fn full() -> Self {
        let ms = Duration::from_millis;
        Self { windows: 7, work: ms(50), length: ms(400), warm_up: ms(450), small: false }
    }

    pub(crate) const fn quick() -> Self {
        let ms = Duration::from_millis;
        Self { windows: 1, work: ms(2), length: ms(20), warm_up: ms(20), small: true }
    }

    /// As many windows as make sense where each takes a second of wall time.
    pub(crate) fn few_windows(self) -> Self {
        Self { windows: self.windows.min(3), ..self }
    }
}

pub(crate) struct Grid {
    title: String,
    head: String,
    rows: Vec<String>,
    columns: Vec<String>,
    cells: Vec<Cell>,
}

struct Cell {
    row: usize,
    column: usize,
    run: Box<dyn FnMut() -> Sample>,
    samples: Vec<Sample>,
}

impl Grid {
    pub(crate) fn new(title: impl Into<String>, head: impl Into<String>) -> Self {
        Self { title: title.into(), head: head.into(), rows: Vec::new(), columns: Vec::new(), cells: Vec::new() }
    }

    /// Adds a cell; rows and columns come up in the order they are first named.
    pub(crate) fn add(&mut self, row: &str, column: &str, run: impl FnMut() -> Sample + 'static) {
        let (row, column) = (place(&mut self.rows, row), place(&mut self.columns, column));
        self.cells.push(Cell { row, column, run: Box::new(run), samples: Vec::new() });
    }

    pub(crate) fn measure(mut self, effort: &Effort) -> Self {
        for window in 1..=effort.windows {
            eprintln!("{}: window {window} of {}, {} cells", self.title, effort.windows, self.cells.len());
            for cell in &mut self.cells {
                cell.samples.push((cell.run)());
            }
        }
        self
    }

    /// Prints the medians; `show` says what of a cell, and gets the column's name.
    pub(crate) fn print(&self, show: impl Fn(&str, Sample) -> String) {
        println!("\n### {}\n", self.title);
        println!("| {} | {} |", self.head, self.columns.join(" | "));
        println!("|---|{}", "---:|".repeat(self.columns.len()));
        for (row, name) in self.rows.iter().enumerate() {
            let cells = self.columns.iter().enumerate().map(|(column, column_name)| {
                let cell = self.cells.iter().find(|cell| cell.row == row && cell.column == column);
                cell.map_or_else(String::new, |cell| show(column_name, cell.median()))
            });
            println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
    }
}

impl Cell {
    fn median(&self) -> Sample {
        let of = |part: fn(&Sample) -> f64| median(&self.samples.iter().map(part).collect::<Vec<_>>());
        Sample { nanos: of(|sample| sample.nanos), rate: of(|sample| sample.rate) }
    }
}

fn place(names: &mut Vec<String>, name: &str) -> usize {
    names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_string());
        names.len() - 1
    })
}
