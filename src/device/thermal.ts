import { join } from 'node:path';
import { namesIn, textOf } from './kernel-files.ts';

/** How hot a board is, and whether it is slower for it. */
export interface Thermal {
  /** Of the processor in °C: of the zone or the sensor that says it is one, or else of the first zone that makes sense. */
  temperatureC(): number | undefined;
  /**
   * Is the processor slower than it could be, because it is too hot or lacks power? As the Raspberry Pi's firmware says, or else the
   * kernel's cooling devices (thermal/sysfs-api); undefined where neither is there.
   */
  isThrottled(): boolean | undefined;
}

/** Drivers of sensors in processors that are in no zone, as those of AMD's never are. */
const sensors = /^(k10temp|zenpower|coretemp|cpu_thermal)$/;

/** Bits of `get_throttled` that speak of now: under-voltage, frequency capped, throttled, soft temperature limit. */
const throttledNow = 0xf;

/** By the firmware's driver in the kernel of Raspberry Pi OS: on boards up to the 4, and from the 5 on, whose device tree numbers its buses. */
const firmwares = ['soc', 'soc@107c000000'].map(soc => `sys/devices/platform/${soc}/${soc}:firmware/get_throttled`);

/** Finds the files that tell, so that the others are not read each time. */
export function findThermal(root = '/'): Thermal {
  const zones = devicesIn(join(root, 'sys/class/thermal'), 'thermal_zone', 'type');
  const coolers = devicesIn(join(root, 'sys/class/thermal'), 'cooling_device', 'type')
    .filter(({ kind }) => /cpufreq|^processor/i.test(kind))
    .map(({ path }) => join(path, 'cur_state'));
  const sensor = devicesIn(join(root, 'sys/class/hwmon'), '', 'name').find(({ kind }) => sensors.test(kind));
  const temperatures = [
    ...zones.filter(({ kind }) => /cpu|soc|pkg/i.test(kind)).map(({ path }) => join(path, 'temp')),
    ...(sensor === undefined ? [] : [join(sensor.path, 'temp1_input')]),
    ...zones.map(({ path }) => join(path, 'temp')),
  ];
  const firmware = firmwares.map(path => join(root, path)).find(path => Number.isInteger(wordIn(path)));
  return {
    temperatureC() {
      for (const path of temperatures) {
        const celsius = Number.parseInt(textOf(path), 10) / 1000;
        if (celsius > -60 && celsius < 150) return celsius;
      }
      return undefined;
    },
    isThrottled() {
      if (firmware !== undefined) return (wordIn(firmware) & throttledNow) !== 0;
      return coolers.length === 0 ? undefined : coolers.some(path => Number.parseInt(textOf(path), 10) > 0);
    },
  };
}

/** Those whose names begin with `prefix`, with what their file `of` says that they are. */
function devicesIn(folder: string, prefix: string, of: string): { readonly path: string; readonly kind: string }[] {
  return namesIn(folder)
    .filter(name => name.startsWith(prefix))
    .map(name => ({ path: join(folder, name), kind: textOf(join(folder, name, of)) }));
}

function wordIn(path: string): number {
  return Number.parseInt(textOf(path), 16);
}
