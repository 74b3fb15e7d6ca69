//! Tables as pg_auto_failover prints them: right-aligned columns, ` | ` between them, a `-+-` ruler
//! under the header and a blank line at the end. A table whose rows arrive one by one prints its header
//! before it knows them, so a column may be given the width that is to come.
//!
//! comfy-table would need a preset, a padding rule per cell and a pass over its output to get the ruler
//! and the blank line; this is shorter than that.

#[derive(Debug, Clone)]
pub struct Column {
    header: &'static str,
    width: usize,
    /// Free text in the last column: left-aligned, and nothing is padded after it.
    text: bool,
}

impl Column {
    pub fn new(header: &'static str) -> Column {
        Column { header, width: header.len(), text: false }
    }

    pub fn text(header: &'static str) -> Column {
        Column { text: true, ..Column::new(header) }
    }

    pub fn at_least(mut self, width: usize) -> Column {
        self.width = self.width.max(width);
        self
    }
}

#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: Vec<Column>) -> Table {
        Table { columns, rows: Vec::new() }
    }

    pub fn push(&mut self, row: Vec<String>) {
        assert_eq!(row.len(), self.columns.len(), "a cell for each column");
        for (column, cell) in self.columns.iter_mut().zip(&row) {
            column.width = column.width.max(cell.chars().count());
        }
        self.rows.push(row);
    }

    /// Header, rows and the blank line.
    pub fn render(&self) -> String {
        let mut out = self.header();
        for row in &self.rows {
            out.push_str(&self.line(row));
        }
        out.push('\n');
        out
    }

    pub fn header(&self) -> String {
        let headers: Vec<String> = self.columns.iter().map(|c| c.header.to_string()).collect();
        let ruler: Vec<String> = self.columns.iter().map(|c| "-".repeat(c.width)).collect();
        self.line(&headers) + &ruler.join("-+-") + "\n"
    }

    /// One row, in columns as wide as they are known to be.
    pub fn line(&self, row: &[String]) -> String {
        let cells = self.columns.iter().zip(row).map(|(column, cell)| match column.text {
            true => cell.clone(),
            false => format!("{cell:>width$}", width = column.width),
        });
        cells.collect::<Vec<_>>().join(" | ").trim_end().to_string() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: Vec<Column>, rows: &[&[&str]]) -> String {
        let mut table = Table::new(columns);
        for row in rows {
            table.push(row.iter().map(|c| c.to_string()).collect());
        }
        table.render()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let text = table(
            vec![Column::new("A"), Column::new("Long").at_least(6), Column::text("Why")],
            &[&["1", "x", "because"], &["1234", "yy", ""]],
        );
        let expected = "   A |   Long | Why\n-----+--------+--------\n   1 |      x | because\n1234 |     yy |\n\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_table_without_rows_has_a_header() {
        assert_eq!(table(vec![Column::new("A")], &[]), "A\n-\n\n");
    }
}
