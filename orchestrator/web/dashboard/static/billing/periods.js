// Periods of whole days in UTC, as the billing API counts them.

const MONTHS = 12;
const DAY_MS = 86_400_000;
const MONTH_FORMAT = new Intl.DateTimeFormat("en-US", { month: "long", year: "numeric", timeZone: "UTC" });

/**
 * @typedef {object} Period
 * @property {string} name
 * @property {string} since First day, as an ISO date.
 * @property {string} until The day after the last one.
 */

/** @param {number} time */
const isoDate = (time) => new Date(time).toISOString().slice(0, 10);

/**
 * @param {string} name
 * @param {number} since
 * @param {number} until
 * @returns {Period}
 */
const createPeriod = (name, since, until) => ({ name, since: isoDate(since), until: isoDate(until) });

/**
 * Return the periods that a user can choose: this month, the last days, and earlier months.
 * @param {Date} now
 */
export function listPeriods(now) {
  const today = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate());
  /** @param {number} monthsAgo */
  const monthStart = (monthsAgo) => Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - monthsAgo, 1);
  /** @param {number} days */
  const lastDays = (days) => createPeriod(`Last ${days} days`, today - (days - 1) * DAY_MS, today + DAY_MS);
  const earlierMonths = Array.from({ length: MONTHS - 1 }, (_, index) => {
    const start = monthStart(index + 1);
    return createPeriod(MONTH_FORMAT.format(start), start, monthStart(index));
  });
  return [createPeriod("This month", monthStart(0), monthStart(-1)), lastDays(7), lastDays(30), ...earlierMonths];
}

/**
 * Return the days of a period as ISO dates.
 * @param {Period} period
 */
export function listDays({ since, until }) {
  const length = Math.round((Date.parse(until) - Date.parse(since)) / DAY_MS);
  return Array.from({ length }, (_, index) => isoDate(Date.parse(since) + index * DAY_MS));
}
