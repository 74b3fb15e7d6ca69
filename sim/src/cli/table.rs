//! The look of all tables: a rule under the head, figures to the right.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

/// The first `texts` columns are words.
pub fn table<C: ToString>(head: &[C], texts: usize) -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─')));
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(head.iter().map(ToString::to_string));
    for column in table.column_iter_mut().skip(texts) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
