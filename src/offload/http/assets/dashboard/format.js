// Times, sizes and numbers as people read them.
const COUNT = new Intl.NumberFormat("en");

export function count(value) {
  return value === null || value === undefined ? "–" : COUNT.format(value);
}

export function rate(value) {
  if (value === null || value === undefined) return "–";
  return value >= 100 ? COUNT.format(Math.round(value)) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${value} bytes` : `${value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function seconds(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value < 0.001) return "0 s";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 60) return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
  if (value < 3600) return parted(Math.round(value), 60, "min", "s");
  if (value < 86400) return parted(Math.round(value / 60), 60, "h", "min");
  return parted(Math.round(value / 3600), 24, "d", "h");
}

function parted(value, size, large, small) {
  const rest = value % size;
  return `${Math.floor(value / size)} ${large}${rest ? ` ${rest} ${small}` : ""}`;
}

export function clock(iso) {
  if (!iso) return "–";
  const at = new Date(iso);
  const time = at.toLocaleTimeString("en-GB");
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time}`;
}

export function between(from, to) {
  return from && to ? Math.max(0, (new Date(to) - new Date(from)) / 1000) : null;
}

export function short(id) {
  return id.slice(0, 8);
}
