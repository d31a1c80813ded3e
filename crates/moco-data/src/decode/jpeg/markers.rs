//! The markers of a whole JPEG, by which damage shows.

use memchr::memchr;

/// What the markers say of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Every marker is one that an encoder writes, where it writes it.
    Usual,
    /// There is an end, and before it a marker that is seldom or never written there. Damage makes such
    /// markers: any byte of the compressed data that becomes 0xff.
    Unusual,
    /// There is no end where one can be: what is missing would be decoded as grey.
    CutOff,
}

impl Order {
    /// Walks over the markers up to the end of the image.
    pub(super) fn of(bytes: &[u8]) -> Order {
        let mut seen = Seen::default();
        let mut usual = true;
        for (marker, parameters) in Markers(bytes) {
            // End of the image.
            if marker == 0xd9 {
                return if usual && seen.scans > 0 { Order::Usual } else { Order::Unusual };
            }
            usual = usual && seen.expects(marker, parameters);
        }
        Order::CutOff
    }
}

/// The markers so far.
#[derive(Default)]
struct Seen {
    starts: usize,
    frames: usize,
    scans: usize,
    is_progressive: bool,
    /// Huffman tables: bits 0 to 3 those of first coefficients, 4 to 7 those of the others.
    tables: u8,
    has_restarts: bool,
    /// Restarts in this scan.
    restarts: usize,
}

impl Seen {
    /// Notes a marker; whether it belongs where it is.
    fn expects(&mut self, marker: u8, parameters: &[u8]) -> bool {
        let before_scans = self.scans == 0;
        match marker {
            // Start of the image.
            0xd8 => {
                self.starts += 1;
                self.starts == 1
            }
            // Frame: baseline, extended, progressive.
            0xc0..=0xc2 => {
                self.frames += 1;
                self.is_progressive = marker == 0xc2;
                self.frames == 1 && before_scans
            }
            // Scan.
            0xda => {
                self.scans += 1;
                self.restarts = 0;
                (before_scans || self.is_progressive) && self.is_possible_scan(parameters)
            }
            // Restart, numbered from 0 to 7 in turn.
            0xd0..=0xd7 => {
                self.restarts += 1;
                self.has_restarts && usize::from(marker & 7) == (self.restarts - 1) % 8
            }
            // Distance of restarts.
            0xdd => {
                self.has_restarts = parameters.iter().any(|&byte| byte != 0);
                before_scans
            }
            // Huffman tables.
            0xc4 => {
                let tables = tables_in(parameters);
                self.tables |= tables.unwrap_or(0);
                tables.is_some() && (before_scans || self.is_progressive)
            }
            // Quantization tables, notes of programs, comments.
            0xdb | 0xe0..=0xef | 0xfe => before_scans,
            _ => false,
        }
    }

    /// Whether a scan has the tables that it names, and, of a progressive image, coefficients and bits
    /// that there can be: the first coefficient alone or a band of one component; the first bits or
    /// one more.
    fn is_possible_scan(&self, scan: &[u8]) -> bool {
        let count = scan.first().map_or(0, |&count| usize::from(count));
        let Some((components, rest)) =
            scan.get(1..).and_then(|rest| rest.split_at_checked(2 * count))
        else {
            return false;
        };
        let &[first, last, bits] = rest else { return false };
        let has = |table: u8| table < 8 && self.tables >> table & 1 == 1;
        let mut named =
            components.as_chunks::<2>().0.iter().map(|&[_, named]| (named >> 4, named & 15));
        if !self.is_progressive {
            return named.all(|(dc, ac)| has(dc) && dc < 4 && has(ac + 4));
        }
        let (before, low) = (bits >> 4, bits & 15);
        let fits = match first {
            0 => last == 0 && (before > 0 || named.all(|(dc, _)| has(dc) && dc < 4)),
            _ => first <= last && last < 64 && count == 1 && named.all(|(_, ac)| has(ac + 4)),
        };
        fits && low <= 13 && (before == 0 || before == low + 1)
    }
}

/// The Huffman tables of a segment, a bit each as in [`Seen::tables`]; nothing if they do not fit it.
fn tables_in(mut segment: &[u8]) -> Option<u8> {
    let mut tables = 0;
    while let Some((&kind, rest)) = segment.split_first() {
        let (of_length, rest) = rest.split_at_checked(16)?;
        let codes: usize = of_length.iter().map(|&codes| usize::from(codes)).sum();
        segment = rest.get(codes..)?;
        if kind & 0xef > 3 || codes > 256 {
            return None;
        }
        tables |= 1 << (kind & 3 | kind >> 2 & 4);
    }
    Some(tables)
}

/// How many scans there are.
pub(super) fn scans(bytes: &[u8]) -> usize {
    let markers = Markers(bytes).map(|(marker, _)| marker);
    markers.take_while(|&marker| marker != 0xd9).filter(|&marker| marker == 0xda).count()
}

/// The markers of a file with their parameters, one after the other, but for those within segments:
/// an embedded thumbnail has markers of its own.
struct Markers<'a>(&'a [u8]);

impl<'a> Iterator for Markers<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        loop {
            let rest = &self.0[memchr(0xff, self.0)?..];
            let (found, length) = match *rest.get(1)? {
                // A fill byte: the marker may start at the next 0xff.
                0xff => (None, 1),
                // Stuffed data byte.
                0x00 => (None, 2),
                // Restarts, start and end of image: no parameters.
                marker @ (0x01 | 0xd0..=0xd9) => (Some(marker), 2),
                marker => {
                    let size = rest.get(2..4)?;
                    (Some(marker), 2 + usize::from(u16::from_be_bytes([size[0], size[1]])))
                }
            };
            self.0 = rest.get(length..).unwrap_or_default();
            if let Some(marker) = found {
                return Some((marker, rest.get(4..length).unwrap_or_default()));
            }
        }
    }
}
