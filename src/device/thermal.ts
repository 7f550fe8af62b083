import { join } from 'node:path';
import { namesIn, textOf } from './kernel-files.ts';

/** Drivers of sensors in processors that are in no zone, as those of AMD's never are. */
const sensors = /^(k10temp|zenpower|coretemp|cpu_thermal)$/;

/** The temperature of the processor in °C: of the zone or the sensor that says it is one, or else of the first zone that makes sense. */
export function readTemperature(root = '/'): number | undefined {
  const folder = join(root, 'sys/class/thermal');
  let first: number | undefined;
  for (const zone of namesIn(folder).filter(name => name.startsWith('thermal_zone'))) {
    const celsius = celsiusIn(join(folder, zone, 'temp'));
    if (celsius === undefined) continue;
    if (/cpu|soc|pkg/i.test(textOf(join(folder, zone, 'type')))) return celsius;
    first ??= celsius;
  }
  return readSensor(join(root, 'sys/class/hwmon')) ?? first;
}

function readSensor(folder: string): number | undefined {
  const sensor = namesIn(folder).find(name => sensors.test(textOf(join(folder, name, 'name'))));
  return sensor === undefined ? undefined : celsiusIn(join(folder, sensor, 'temp1_input'));
}

/** Undefined for what cannot be. */
function celsiusIn(path: string): number | undefined {
  const celsius = Number.parseInt(textOf(path), 10) / 1000;
  return celsius > -60 && celsius < 150 ? celsius : undefined;
}

/** Bits of `get_throttled` that speak of now: under-voltage, frequency capped, throttled, soft temperature limit. */
const throttledNow = 0xf;

/** By the firmware's driver in the kernel of Raspberry Pi OS: on boards up to the 4, and from the 5 on, whose device tree numbers its buses. */
const firmwares = ['soc', 'soc@107c000000'].map(soc => `sys/devices/platform/${soc}/${soc}:firmware/get_throttled`);

/**
 * Is the processor slower than it could be, because it is too hot or lacks power? As the Raspberry Pi's firmware says, or else the
 * kernel's cooling devices (thermal/sysfs-api); undefined where neither is there.
 */
export function readThrottled(root = '/'): boolean | undefined {
  for (const path of firmwares) {
    const firmware = Number.parseInt(textOf(join(root, path)), 16);
    if (Number.isInteger(firmware)) return (firmware & throttledNow) !== 0;
  }
  const folder = join(root, 'sys/class/thermal');
  const states = namesIn(folder)
    .filter(name => name.startsWith('cooling_device') && /cpufreq|^processor/i.test(textOf(join(folder, name, 'type'))))
    .map(name => Number.parseInt(textOf(join(folder, name, 'cur_state')), 10));
  return states.length === 0 ? undefined : states.some(state => state > 0);
}
