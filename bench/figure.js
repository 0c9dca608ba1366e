/** A line of a report; a target is its text, and `met` whether it is kept. */
export const figure = (name, value, unit, target = null, met = null) => ({
  name,
  value,
  unit,
  target,
  met,
});
